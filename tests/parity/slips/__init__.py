"""Ways in which a wrong port could slip through, none of which may pass.

`table` has a row for each; `ports` has the right port that they change. Unlike the mistakes of
`tests.parity.mutations`, these are made where a comparison could be blind: in closures, in what
``to_torch`` leaves out, where the loss reads nothing, in runs in which rounding grows, late or
seldom, and in what is excused as rounding.
"""
