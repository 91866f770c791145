"""The mistakes of `jaxdnn.parity.TRAPS`, made on purpose, to compare with what a port does.

`losses`, `optimizers` and `schedules` build a loss or an optax transformation with each mistake;
`data` and `narrowing` recognise theirs in the batches and in the program. Those in layers are made
on torch's side, by `reference_torch.parity.mistakes`.
"""
