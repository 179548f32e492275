"""Between messages of the contract and values of the domain, one module a subject."""
