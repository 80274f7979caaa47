#!/usr/bin/perl
# reports.pl LIBRARY CONTROL FILE…: valgrind's reports (XML) with a frame in LIBRARY, which there must not be; those in CONTROL must be
# an invalid read and a leak.  A leak is the library's if it allocated the memory, itself or by a library that it uses, and not
# PostgreSQL on its behalf, as when a worker is set up.
use strict;
use warnings;

my ($library, $control, @files) = @ARGV;
my (@ours, %controls);
my $processes = 0;
foreach my $file (@files)
{
	open(my $handle, '<', $file) or die "$file: $!\n";
	my $text = do { local $/; <$handle> };
	$processes++;
	while ($text =~ m{<error>(.*?)</error>}gs)
	{
		my $report = $1;
		my ($kind) = $report =~ m{<kind>([^<]*)</kind>};
		$controls{$kind} = 1 if $report =~ m{<obj>[^<]*/\Q$control\E</obj>};
		my @objects = grep { m{/(\Q$library\E|postgres)$} } $report =~ m{<obj>([^<]*)</obj>}g;
		next unless grep { m{/\Q$library\E$} } $kind =~ /^Leak_/ ? @objects[ 0 .. (@objects ? 0 : -1) ] : @objects;
		my ($what) = $report =~ m{<(?:what|text)>([^<]*)<};
		my @frames = map {
			my ($function) = m{<fn>([^<]*)</fn>};
			my ($source) = m{<file>([^<]*)</file>};
			my ($line) = m{<line>([^<]*)</line>};
			'    ' . ($function // '?') . (defined $source ? " ($source:$line)" : '')
		} $report =~ m{<frame>(.*?)</frame>}gs;
		push @ours, join("\n", "$kind: $what", @frames);
	}
}
print "$_\n" for @ours;
foreach my $kind (qw(InvalidRead Leak_DefinitelyLost))
{
	next if $controls{$kind};
	print "control: valgrind did not report $kind in $control\n";
	push @ours, $kind;
}
print "$processes processes under valgrind, ", scalar(@ours), " reports\n";
exit(@ours ? 1 : 0);
