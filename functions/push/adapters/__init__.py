"""Adapters: the only modules that import boto3. They turn its errors into those of the domain."""
