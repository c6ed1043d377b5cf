"""The storm: real servers and services under faults at random moments, and checkers that read all the time.

    ./check --storm [--seeds 20] [--seed 1]

schedule   pure: from a seed, the faults, their times and their targets
workload   pure: from a seed, the records, torn apart, reordered and duplicated
faults     the table of faults, each a small function
stage      the servers and the supervised services that it all happens to
checker    what must hold the whole time
ending     what must hold when it is over
driver     one storm from its begin to its end
"""
