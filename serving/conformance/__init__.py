"""How TensorFlow Serving answers, as cases that run against any server.

The answers are those that its documentation, its sources or a running one gave. Each
case sends one request, built from what the server itself says about a model, and
compares the code and the first words of the answer. Where the embedded server differs
on purpose, the case lists both answers, and the report says which one came.
"""
