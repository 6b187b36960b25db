// Placeholder so that the module's library exists; removed with the first real source.
