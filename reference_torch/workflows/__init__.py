"""The lessons in torch, one module for each module of `jaxdnn.workflows`, with the same name.

Both sides have the same functions in the same order, so that they can be read side by side. Each
lesson is written as torch's tutorials are: modules that own their parameters, criterion objects,
loaders, and a loop in which ``backward`` computes the gradients and ``step`` applies them. Start
with `two_layer_net`, which has no module yet, or with `mnist_dnn`.
"""
