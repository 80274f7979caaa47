# bash completion for difs: commands, their options, local names, and paths in the database (with what libpq finds in the environment)

_difs_paths()
{
	local current=$1 directory
	directory=${current%/*}/
	[[ $current == */* ]] || directory=/
	local names
	names=$(difs -w "${connection[@]}" ls "$directory" 2>/dev/null)
	local IFS=$'\n'
	compopt -o nospace -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -P "$directory" -W "$names" -- "${current##*/}")
}

_difs()
{
	local current=${COMP_WORDS[COMP_CWORD]} command='' connection=() i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
			-d | -h | -p | -U) connection+=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]}"); ((i++)) ;;
			-*) ;;
			*) command=${COMP_WORDS[i]}; break ;;
		esac
	done
	COMPREPLY=()
	if [[ -z $command ]]; then
		local all
		all=$(difs --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
		mapfile -t COMPREPLY < <(compgen -W "$all" -- "$current")
	elif [[ $current == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(difs --list-options="$command")" -- "$current")
	elif [[ $command == put || $command == import ]] && ((COMP_CWORD == i + 1)); then
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		compopt -o filenames 2>/dev/null
	else
		_difs_paths "$current"
	fi
}

complete -F _difs difs
