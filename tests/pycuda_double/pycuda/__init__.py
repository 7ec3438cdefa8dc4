"""A double of pycuda for tests: the part of its API that edgeseg uses, held to ../oracle.json of the real one."""
