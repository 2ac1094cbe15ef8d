#!/bin/sh
# Runs PROGRAM for the interface NAME while the file REQUEST is there: with a megabyte of memory, where an interpreter
# would hold twenty beside every tunnel. Ends with its container, and takes the program along.
set -u
name=$1 program=$2 request=$3
child='' idle=0

end() {
    if [ -n "$child" ]; then
        kill -TERM "$child" 2>/dev/null
        wait "$child"
    fi
    exit 0
}
trap end TERM INT

# Waits in the background: a trap is run at once, and not after the command in the foreground.
run() {
    "$@" &
    child=$!
    wait "$child"
    child=''
}

while :; do
    if [ -e "$request" ]; then
        run "$program" -f "$name"
        idle=0
    fi
    # An agent asks within minutes of its pod's start, or hardly ever: each look is a process.
    if [ "$idle" -lt 600 ]; then
        idle=$((idle + 1))
        run sleep 0.5
    else
        run sleep 5
    fi
done
