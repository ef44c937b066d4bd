"""Its place puts this folder on the import path of the tests, for what several of their folders use."""
