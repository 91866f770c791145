"""This project's own workflows, verified: what ``jaxdnn verify`` runs.

`cases` lists every workflow that trains, in JAX and in torch, from the same parameters on the same
batches. `verify` compares them with `jaxdnn.parity`, and the printed figures with the documents';
`transforms` compares the jitted step with the same step under other JAX transforms.
"""
