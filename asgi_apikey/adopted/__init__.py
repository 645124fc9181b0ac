"""Keys of other systems, taken over as they are: one module for each system, with all that is particular to it.

A system is three things (`systems.ForeignSystem`): the shape of its keys, how it compares one with what it has stored,
and how a row of its table becomes a record of ours. The row's digest is kept as it is, under the name of the system,
and is replaced by one of ours when its key is used for the first time.
"""
