"""The zero-loss drill: accepted = stored = published = effected, each once, whatever dies.

`python -m tests.drill --writes 3000 --seed 7` (`make drill`). Clients play case lifecycles and reports and keep a journal of what they were told,
while everything that the platform is made of is killed in turn. At the end four books are audited against each other: the journal, the tables,
the log and the effects.
"""
