"""The contract of the service, made of the models in `functions/push/messages.py`.

schemas.py          JSON Schema of the models
"""
