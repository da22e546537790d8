"""`make contract`: write what is made of the models."""

from contract.document import PATH, document, text
from contract.examples import by_message

PATH.write_text(text(document(by_message())))
