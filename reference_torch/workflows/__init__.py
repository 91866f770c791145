"""The tutorials' workflows, one module a family, named as in `jaxdnn.workflows`."""
