"""TensorFlow Serving's services, whatever the transport."""

import grpc

from serving import errors, messages, model_config, signatures


class Services:
    """Answers requests of PredictionService and ModelService from a ModelManager.

    Args:
        manager: The ModelManager.
        on_reload: Called when other models are served because a caller asked for it.
    """

    def __init__(self, manager, on_reload):
        self._manager = manager
        self._on_reload = on_reload

    def predict(self, request, deadline, on_cancel):
        """Answers a PredictRequest."""
        spec = _model_spec(request)
        with self._manager.use(spec) as (model, _):
            return model.predict(request, deadline, on_cancel)

    def signatures(self, spec):
        """Returns {key: Signature} of the model that a ModelSpec names."""
        with self._manager.use(spec) as (model, _):
            return model.signatures

    def get_model_metadata(self, request):
        """Answers a GetModelMetadataRequest with the signatures."""
        spec = _model_spec(request)
        if not request.metadata_field:
            raise errors.invalid_argument(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in request.metadata_field:
            if field != "signature_def":
                raise errors.invalid_argument(
                    f"Metadata field {field} is not supported"
                )
        response = messages.GetModelMetadataResponse()
        with self._manager.use(spec) as (model, version):
            found = messages.SignatureDefMap()
            for key, definition in model.signature_defs.items():
                found.signature_def[key].CopyFrom(definition)
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(found)
        return response

    def get_model_status(self, request):
        """Answers a GetModelStatusRequest, newest version first."""
        spec = _model_spec(request)
        return messages.GetModelStatusResponse(
            model_version_status=self._manager.statuses(spec)
        )

    def reload_config(self, request):
        """Serves another set of models, and answers once they are loaded."""
        self._manager.reload(model_config.models_of(request.config))
        self._on_reload()
        return messages.ReloadConfigResponse()

    def wrong_signature(self, request):
        """Answers Classify and Regress, whose signatures no model here has."""
        spec = _model_spec(request)
        with self._manager.use(spec) as (model, _):
            key = spec.signature_name or signatures.DEFAULT
            signature = model.signatures.get(key)
        if signature is None:
            raise errors.invalid_argument(
                f"No signature was found with the name: {key}"
            )
        classify = isinstance(request, messages.ClassificationRequest)
        kind = "Classify" if classify else "Regress"
        if signature.method.endswith(("classify", "regress")):
            raise errors.ServingError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"This server does not answer {kind}; ask Predict for {key} instead",
            )
        raise errors.invalid_argument(
            f"{kind} needs a signature of its own kind; {key} is {signature.method}. "
            "Ask Predict instead"
        )

    def known(self, name):
        """Returns the name if a model has it, else an empty one."""
        return name if self._manager.knows(name) else ""


def _model_spec(request):
    if not request.HasField("model_spec"):
        raise errors.invalid_argument("Missing ModelSpec")
    if not request.model_spec.name:
        raise errors.invalid_argument("ModelSpec has no name specified.")
    return request.model_spec
