
=pod

=head1 NAME

DifsDocs - what the documents of this project say, for the test that compares it with the product

=head1 DESCRIPTION

A document is { name, dir, text, lines }. Functions here read Markdown as GitHub does, as far as our documents use it: headings and
their anchors, links, tables, fences. Nothing is started here.

Comments in front of a C<sql> fence say how the test runs the example:

  <!-- not run: REASON -->      it does not
  <!-- new database -->         in a new database, without the extension
  <!-- before: STATEMENTS -->   these first, which a reader needs not see
  <!-- with: TEXT = SQL -->     with SQL in the place of TEXT, such as a value for $1; psql's variables stand in SQL

=cut

package DifsDocs;

use strict;
use warnings;

use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;

# A document of the source tree, or one with the given text in its place.
sub document
{
	my ($tree, $name, $text) = @_;
	$text //= slurp_file("$tree/$name");
	return { tree => $tree, name => $name, text => $text };
}

# The text with everything blanked that stands in fences.
sub without_fences
{
	my ($document) = @_;
	my $text = $document->{text};
	$text =~ s/^```.*?^```[ \t]*$//gms;
	return $text;
}

# Anchors of all headings, as GitHub makes them.
sub anchors
{
	my ($document) = @_;
	my (%seen, @anchors);
	foreach my $heading (without_fences($document) =~ /^#{1,6} (.*)$/mg)
	{
		my $anchor = lc $heading;
		$anchor =~ s/[^\w\- ]//g;
		$anchor =~ s/ /-/g;
		push @anchors, $seen{$anchor} ? "$anchor-$seen{$anchor}" : $anchor;
		$seen{$anchor}++;
	}
	return @anchors;
}

# Targets of links to files and headings of the project.
sub links
{
	my ($document) = @_;
	my $text = without_fences($document);
	$text =~ s/`[^`\n]*`/code/g;
	return grep { !/^[a-z]+:/ } $text =~ /\]\(([^)\s]+)\)/g;
}

# Links that lead nowhere, one line each.
sub broken_links
{
	my ($document) = @_;
	my @broken;
	foreach my $link (links($document))
	{
		my ($path, $anchor) = $link =~ /^([^#]*)(?:#(.*))?$/;
		my $file = $path eq '' ? $document->{name} : dirname($document->{name}) . "/$path";
		if ($path ne '' && !-e "$document->{tree}/$file")
		{
			push @broken, "$document->{name}: $link: there is no such file";
		}
		elsif (defined $anchor)
		{
			my $target = $path eq '' ? $document : document($document->{tree}, $file);
			push @broken, "$document->{name}: $link: there is no such heading" unless grep { $_ eq $anchor } anchors($target);
		}
	}
	return @broken;
}

# The rows of the tables whose heading begins with these cells: lists of cells.
sub table
{
	my ($document, @heading) = @_;
	my ($inside, @rows) = (0);
	foreach my $line (split /\n/, without_fences($document))
	{
		if ($line !~ /^\|/)
		{
			$inside = 0;
			next;
		}
		my @cells = map { s/^\s+|\s+$//gr } split /(?<!\\)\|/, $line =~ s/^\|//r =~ s/\|\s*$//r, -1;
		if (!$inside && join('|', map { $_ // '' } @cells[ 0 .. $#heading ]) eq join('|', @heading))
		{
			$inside = 1;
		}
		elsif ($inside && $line !~ /^\|[\s|:-]+$/)
		{
			push @rows, \@cells;
		}
	}
	die "$document->{name} has no table of @heading" unless @rows;
	return @rows;
}

# What stands in code quotes.
sub quoted
{
	my ($text) = @_;
	return $text =~ /`([^`]+)`/g;
}

# "name(argument, argument) -> what it returns": (name, "argument argument", columns or undef).
sub signature
{
	my ($text) = @_;
	my ($name, $arguments, $returns) = $text =~ /^(difs_\w+)\(([^)]*)\)(?: → (.*))?$/ or return;
	my ($columns) = ($returns // '') =~ /^(?:setof )?\(([^)]*)\)$/;
	undef $columns if defined $columns && $columns =~ /…/;
	return ($name, words($arguments), defined $columns ? words($columns) : undef);
}

sub words
{
	my ($list) = @_;
	return join ' ', map { s/^\s+|\s+$|"|\[\]//gr } split /,/, $list;
}

# The examples of a document, in order: { line, language => sql or sh, lines, not_run, new_database, before => [statements], with => [[text, sql]] }.
sub examples
{
	my ($document) = @_;
	my @examples;
	my $text = $document->{text};
	while ($text =~ /((?:^<!-- [^\n]* -->\n)*)^```(sql|sh)\n(.*?)^```[ \t]*$/gms)
	{
		my ($comments, $language, $lines) = ($1, $2, $3);
		my %example = (line => 1 + (substr($text, 0, $-[3]) =~ tr/\n//), language => $language, lines => $lines, before => [], with => []);
		foreach my $comment ($comments =~ /^<!-- ([^\n]*) -->$/mg)
		{
			if ($comment =~ /^not run: \S/) { $example{not_run} = $comment; }
			elsif ($comment eq 'new database') { $example{new_database} = 1; }
			elsif ($comment =~ /^before: (.*)$/) { push @{ $example{before} }, $1; }
			elsif ($comment =~ /^with: (.*?) = (.*)$/) { push @{ $example{with} }, [ $1, $2 ]; }
			else { die "$document->{name}: <!-- $comment --> before an example is not understood"; }
		}
		push @examples, \%example;
	}
	return @examples;
}

# What psql or the shell is given for an example.
sub statements
{
	my ($example) = @_;
	my $lines = $example->{lines};
	foreach my $with (@{ $example->{with} })
	{
		my ($text, $value) = @$with;
		$lines =~ s/\Q$text\E/$value/g or die "an example in line $example->{line} does not have $text";
	}
	return join("\n", @{ $example->{before} }, $lines);
}

1;
