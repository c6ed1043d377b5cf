"""The same workload through callfold and through what a user would write or install instead.

`contenders` lists them, `environments` installs each in an environment of its own, `runs` runs one over a
backlog, and `truth` computes the right counts. `programs` has one program per peer. They import packages that
the project's environment lacks, and run only in their own."""
