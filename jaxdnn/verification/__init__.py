"""This package's own workflows, verified: what ``jaxdnn verify`` runs.

`cases` lists every workflow that trains, in JAX and in torch, from the same initial parameters on
the same batches; `sides` has what its rows are made of. `verify` compares them with
`jaxdnn.parity`, and the printed figures with the documents'; `transforms` compares the jitted step
with the same step under JAX's other transforms. Start reading at `verify.verify_case`.
"""
