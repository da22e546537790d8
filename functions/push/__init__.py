"""Subscriptions and notifications over WebSockets: the domain that every function shares.

Routes import this package; it imports no route. Only `push.adapters` imports boto3.
"""
