"""Adapters: the only modules that call AWS. They turn its errors into those of the domain."""
