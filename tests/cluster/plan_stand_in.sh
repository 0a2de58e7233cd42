#!/bin/bash
# Stands in for python where slurm/reproduce.sh is on trial: has a plan of five jobs, writes down which of them was to
# be run (0 is the report), and does what act.sh in the out folder says.
only=0 out=
for word; do
  case $word in
    --only=*) only=${word#*=} ;;
    --out=*) out=${word#*=} ;;
    --list) exec printf '%s\n' '1 missing 0 a' '2 done 0 b' '3 missing 1 c' '4 left-out 0 d' '5 missing 0 e' ;;
  esac
done
echo "$only" >>"$out/calls"
# shellcheck source=/dev/null
source "$out/act.sh"
