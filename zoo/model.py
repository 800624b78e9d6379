"""What every model of the zoo shares: several optimizers, replicas, noise, logs.

A variant subclasses `Model` and writes its paper's algorithm in `train_step` with four
verbs: `row_seeds` (noise), `minimizing` (one update), `pass_through` (use a network
without training it) and `end_step` (logs). Everything that tapes, loss scaling,
replicas and saving demand of a step is in this file, what a batch is made of in
`zoo.unpacking`, and how steps follow one another in `zoo.training_loop`.
"""

import contextlib
import functools
import inspect
import json
import math
import random
import types
import warnings
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from zoo import (
    checks,
    data,
    network_checks,
    networks,
    optimizer_checks,
    presets,
    rebuilding,
    rng,
)
from zoo.distribution import spans_workers
from zoo.running_means import RunningMeans, zero_without_rows
from zoo.training_loop import TrainingLoop, refuse_unsupported
from zoo.unpacking import Unpacking

#: Arrays are computed in multiples of so many rows. Processors add up the last few in
#: another order, and what a row gives shall not hang on those that come with it.
_ROW_BLOCK = 8
#: Arguments of `compile` that change how steps run, and not what they do.
_HOW_KERAS_RUNS = ("run_eagerly", "jit_compile", "steps_per_execution")


@contextlib.contextmanager
def silent(length):
    """Shows no progress; see `Model.progress`."""
    del length
    yield types.SimpleNamespace(update=lambda count: None)


class Model(Unpacking, TrainingLoop):
    """Base class: a `keras.Model` whose networks have an optimizer each.

    A subclass builds its networks in the constructor, lists in `players` which
    optimizer trains which of them, in `logged` what `fit` shall report, and calls
    `_compile` from its own `compile`. A class derived from a variant may add players
    without a `compile` of its own.

    Args:
        seed: Integer from which initial weights and all noise follow; None draws one.
        name: Name of the model.
        dtype: Dtype policy of the networks, such as `"mixed_bfloat16"`; None takes
            Keras's global policy.
    """

    #: Names of the numbers that `end_step` takes and `fit` logs, in order. Names that
    #: end in `_loss` are added up as `loss`.
    logged = ()
    #: Shows how far the model is with many rows: called with their number, `length`, it
    #: returns a context manager whose object is told of them by `update(count)`, such
    #: as a `click.progressbar`.
    progress = staticmethod(silent)

    def __init__(self, *, seed=None, name=None, dtype=None):
        if (layout := keras.config.image_data_format()) != "channels_last":
            raise ValueError(
                "Images are [n, height, width, channels] here. Call keras.config."
                "set_image_data_format('channels_last') before you build a model, or "
                f"change ~/.keras/keras.json. Received: image_data_format={layout!r}"
            )
        # Networks cast what they take by their own policies, and the rest, such as a
        # row's seed from its latents, is to see inputs as they are.
        policy = checks.dtype_policy(dtype)
        super().__init__(name=name, dtype=policy, autocast=False)
        # Python's generator is one of those that keras.utils.set_random_seed seeds.
        self.seed = checks.seed(
            "seed", random.randrange(2**31) if seed is None else seed
        )
        self._given_networks = []
        self.steps = self._counter("steps")
        self._evaluated_batches = self._counter("evaluated_batches")
        self._running_means = RunningMeans(self.logged)

    def _counter(self, name):
        return self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int64",
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def build(self, input_shape=None):
        """Does nothing: the constructor has built every network."""
        del input_shape
        self.built = True

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras would call the model on a batch of images to create what is missing.
        # Nothing is, and several workers could not agree on that batch (keras#20585).
        del iterator, data_batch

    # Configuration

    #: Data sets that a batch is made of: 1, or 2 for a source and a target.
    domains = 1
    #: Arguments of `zoo.load_data` without which its batches don't fit the model.
    data_arguments: ClassVar = {}

    @classmethod
    def data_arguments_for(cls, arguments):
        """Returns `data_arguments` of a model built with these arguments."""
        del arguments
        return cls.data_arguments

    #: Attributes that hold the networks, trained or fixed.
    network_names = ()

    def networks(self):
        """Returns a dict of the networks that make the model, as used for inference."""
        return {name: getattr(self, name) for name in self.network_names}

    def inference_copy(self):
        """Returns a model with the same weights, uncompiled and under no strategy.

        Where an averaged network is kept, it takes the place of the trained one.

        Raises:
            ValueError: If the class's `get_config` lacks an argument, or a layer can't
                be built from its own.
        """
        checks.whole_config(self, Model, besides=self.network_names)
        networks = self.networks()
        copy = rebuilding.rebuild(self, networks)
        for name, network in networks.items():
            rebuilding.copy_weights(network, getattr(copy, name))
        return copy

    def export(self, *args, **kwargs):
        """Raises: Keras's exports have no signatures that a server could batch."""
        raise ValueError(
            "Models of the zoo are exported by export.to_saved_model(model, "
            '"models/NAME"), or `python -m export`.'
        )

    def save(self, filepath, *args, **kwargs):
        """Saves to a `.keras` file; see `keras.Model.save`.

        Raises:
            ValueError: For an HDF5 file, whose format can't hold these models.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "HDF5 files hold no models of several networks. Save to a .keras file, "
                f"or the weights by save_weights. Received: {filepath}"
            )
        super().save(filepath, *args, **kwargs)

    def _random_states(self):
        """Returns the states of Keras's random layers, such as Dropout."""
        return [
            variable
            for name in self.network_names
            for variable in getattr(self, name).variables
            if variable.name == "seed_generator_state"
        ]

    def save_own_variables(self, store):
        """Saves the states of random layers, too, which Keras leaves out."""
        super().save_own_variables(store)
        for number, state in enumerate(self._random_states()):
            store[f"random_state_{number}"] = state.numpy()

    def load_own_variables(self, store):
        """Loads them as well, if the file has them."""
        kept = {name: store[name] for name in store.keys()}  # noqa: SIM118  (no dict)
        names = [name for name in kept if name.startswith("random_state_")]
        saved = {name: kept.pop(name) for name in names}
        super().load_own_variables(kept)
        for number, state in enumerate(self._random_states()):
            if f"random_state_{number}" in saved:
                state.assign(saved[f"random_state_{number}"])

    def save_to_preset(self, folder, metadata=None):
        """Writes the model as a preset; see `zoo.presets.save`."""
        presets.save(self, folder, metadata)

    @classmethod
    def from_preset(cls, handle, sha256=None, dtype=None):
        """Loads the model of a preset.

        Args:
            handle: Name of a built-in preset (`zoo.list_presets()`), a preset's or a
                run's folder, or a base URL. A folder by the name of a built-in preset
                is `./NAME`.
            sha256: Expected SHA-256 of the preset's `metadata.json`.
            dtype: Dtype policy to compute by, such as `"bfloat16"`; None for the one
                that the model was saved with. Networks that somebody gave to the model
                keep their own.

        Returns:
            The model, uncompiled; its class is this one or derives from it.

        Raises:
            ValueError: If the preset is unknown, incomplete, damaged, newer than this
                package, or of another class; or if there is no such policy.
        """
        return presets.load(handle, cls, sha256, dtype)

    def players(self):
        """Returns a dict from each optimizer's name to the networks it trains."""
        raise NotImplementedError

    def default_optimizers(self):
        """Returns the optimizers of `compile` by default, by the keys of `players`."""
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments; and `frozen`, if layers are.

        That is a dict from a network's name to the places of its layers that do not
        train, in the order of `layers`, with the network itself first.
        """
        config = {
            "seed": self.seed,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            **{
                name: keras.saving.serialize_keras_object(getattr(self, name))
                for name in self._given_networks
            },
        }
        frozen = {
            name: [place for place, x in enumerate(parts) if not x.trainable]
            for name, parts in self._parts_of_networks().items()
        }
        frozen = {name: places for name, places in frozen.items() if places}
        return {**config, "frozen": frozen} if frozen else config

    @classmethod
    def from_config(cls, config):
        """Builds the model from `get_config`'s result."""
        config = dict(config)
        frozen = config.pop("frozen", {})
        model = cls(**keras.saving.deserialize_keras_object(config))
        for name, places in frozen.items():
            parts = model._parts_of_networks()[name]
            for place in places:
                parts[place].trainable = False
        return model

    def _parts_of_networks(self):
        """Returns a dict from a trained network's name to itself and its layers."""
        return {
            name: [getattr(self, name), *getattr(self, name).layers]
            for name in self.network_names
        }

    def _remember_given(self, **networks):
        """Notes which networks are the user's own, for `get_config`; None for ours."""
        self._given_networks = [
            name for name, network in networks.items() if network is not None
        ]

    def get_compile_config(self):
        """Returns the arguments of `compile`, serialized; Keras saves them."""
        if not self.compiled:
            return {}
        return self._serialized(keras.saving.serialize_keras_object)

    def _serialized(self, serialize):
        """Returns the arguments of `compile`, optimizers as they were there."""
        configs = self._optimizer_configs
        return {
            name: configs[name]
            if isinstance(configs.get(name), dict)
            else serialize(value)
            for name, value in self._compile_arguments.items()
        }

    def compile_from_config(self, config):
        """Compiles with what `get_compile_config` returned; Keras calls it."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def _compile(self, optimizers, settings, metrics=None, **keras_arguments):
        """Readies the model for `fit`; every subclass's `compile` ends here.

        Nothing of the model changes before all arguments are checked.

        Args:
            optimizers: Dict from player to an optimizer, its name, its config, or None
                for `default_optimizers`. Those of other players, which a derived class
                has added, are among the keyword arguments.
            settings: The subclass's own arguments of `compile`, checked; they become
                attributes, and are saved.
            metrics: Metrics for `evaluate`; they compare real with generated images.
            **keras_arguments: `run_eagerly`, `jit_compile` and `steps_per_execution`,
                as `keras.Model.compile` takes them.
        """
        checks.whole_config(self, Model, besides=self.network_names)
        optimizers = dict(optimizers)
        # In their order, by which several workers make the optimizers' variables.
        for player in self.players():
            if player not in optimizers:
                optimizers[player] = keras_arguments.pop(f"{player}_optimizer", None)
        self._check_own_arguments(
            {f"{player}_optimizer" for player in optimizers} | settings.keys()
        )
        strategy = self.distribute_strategy
        refuse_unsupported(strategy, keras_arguments)
        self._refuse_foreign(keras_arguments)
        defaults = self.default_optimizers()
        if lacking := sorted(self.players().keys() - defaults.keys()):
            raise ValueError(
                f"{type(self).__name__}.default_optimizers() has none for "
                f"{', '.join(lacking)}, which players() lists."
            )
        chosen = {
            player: _optimizer_of(player, defaults[player] if given is None else given)
            for player, given in optimizers.items()
        }
        if len({id(optimizer) for optimizer in chosen.values()}) < len(chosen):
            raise ValueError(
                "The networks share one optimizer object, whose state would mix up "
                f"their gradients. Pass one to each of {sorted(chosen)}."
            )
        for player, optimizer in chosen.items():
            optimizer_checks.check(
                f"{player}_optimizer", optimizer, self._trained_by(player), strategy
            )
        if strategy.num_replicas_in_sync > 1:
            network_checks.warn_of_unsynchronized(
                network for player in chosen for network in self.players()[player]
            )
        # Those of a derived class may be in `players` alone.
        involved = [getattr(self, name) for name in self.network_names]
        involved += [x for player in chosen for x in self.players()[player]]
        # One is enough: the losses of other players may come to them through it.
        in_halves = network_checks.computes_in_float16(involved)
        if in_halves and not tf.config.list_physical_devices("GPU"):
            warnings.warn(
                "float16 is for GPUs: without one, as here, a step can take a hundred "
                "times as long. Processors have mixed_bfloat16.",
                stacklevel=3,
            )
        self._set(**settings)
        with strategy.scope():
            # A setting may add to what is logged.
            self._running_means = RunningMeans(self.logged)
            # Without optimizer=None Keras would add an RMSprop of its own. XLA is a
            # choice: it helps some models and slows others on the CPU.
            super().compile(
                optimizer=None,
                metrics=metrics,
                **{"jit_compile": False, **keras_arguments},
            )
            for player, optimizer in chosen.items():
                if in_halves and not isinstance(
                    optimizer, keras.optimizers.LossScaleOptimizer
                ):
                    optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
                # Unbuilt optimizers would lose their state on saving.
                optimizer.build(self._trained_by(player))
                setattr(self, f"{player}_optimizer", optimizer)
        # In a dict Keras would find the metrics, and ask for them after every step.
        self._compile_arguments = types.MappingProxyType(
            {
                **{f"{player}_optimizer": chosen[player] for player in chosen},
                **settings,
                "metrics": metrics,
                **keras_arguments,
            }
        )
        # As they are now: callbacks may change a learning rate.
        self._optimizer_configs = {
            f"{player}_optimizer": _config_of(chosen[player]) for player in chosen
        }

    def _check_own_arguments(self, kept):
        """Raises `ValueError` where a file would lack what `compile` was told.

        That is so where the `compile` of a derived class takes more than ours and does
        not hand it on to `_compile`, and `get_compile_config` is ours.

        Args:
            kept: Set of the arguments that were handed on.
        """
        (ours, *_) = [c for c in type(self).mro() if c.__module__.startswith("zoo.")]
        all_arguments = _arguments_of(type(self).compile).keys()
        own = all_arguments - _arguments_of(ours.compile) - kept
        if own and type(self).get_compile_config is Model.get_compile_config:
            lacking = sorted(own)
            raise ValueError(
                f"{type(self).__name__}.get_compile_config() lacks "
                f"{', '.join(lacking)}, which compile takes: a model that is loaded "
                "and trained on would have the default instead. Return "
                f"{{**super().get_compile_config(), {lacking[0]!r}: ...}} there."
            )

    def _set(self, **settings):
        """Makes attributes of what `compile` was told, once all of it is checked."""
        for name, value in settings.items():
            setattr(self, name, value)

    def _refuse_foreign(self, keras_arguments):
        """Raises for arguments of `keras.Model.compile` that would have no effect."""
        foreign = sorted(set(keras_arguments) - set(_HOW_KERAS_RUNS))
        if not foreign:
            return
        own = [name for name in _arguments_of(type(self).compile) if name != "self"]
        added = (f"{player}_optimizer" for player in self.players())
        own += [name for name in added if name not in own]
        raise ValueError(
            f"{type(self).__name__}.compile does not take {', '.join(foreign)}. It has "
            "its paper's losses, and an optimizer for each of its players. It takes "
            f"{', '.join([*own, *_HOW_KERAS_RUNS])}."
        )

    def settings(self):
        """Returns, as JSON, what `compile` was told that has a part in the training.

        Objects without a config are known by their class alone, and where there are any
        nothing is known of what a derived class adds in `get_compile_config`.
        """
        try:
            told = self.get_compile_config()
        except NotImplementedError:
            told = self._serialized(_config_of)
        no_part = ("metrics", *_HOW_KERAS_RUNS)
        return _without_names({k: v for k, v in told.items() if k not in no_part})

    def _trained_by(self, player):
        return [
            variable
            for network in self.players()[player]
            for variable in network.trainable_variables
        ]

    @classmethod
    def check_measurable(cls, name, **data_arguments):
        """Raises `ValueError` where `measure` would find no data to measure on.

        Args:
            name: Name of the data, or those of two domains.
            **data_arguments: What else `zoo.load_data` takes.
        """
        for one in name if isinstance(name, (list, tuple)) else (name,):
            data.describe(one, **data_arguments)

    def measure(self, **data_arguments):
        """Measures what the model does beside making samples, on test data.

        Args:
            **data_arguments: As for `zoo.load_data`.

        Returns:
            List of `zoo.metrics.Measurement`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} measures nothing by itself: leave test_split out "
            "of its recipe."
        )

    def _in_batches(self, function, arrays, batch_size):
        """Concatenates `function` of slices of the arrays, as float32 numpy.

        Where it returns several tensors, in a tuple or the like, so does this.
        """
        blocks = math.ceil(checks.count("batch_size", batch_size) / _ROW_BLOCK)
        batch_size = blocks * _ROW_BLOCK
        count = len(arrays[0])
        if count == 0:
            # Some kernels give no rows a wrong shape.
            one = (tf.zeros((1, *array.shape[1:]), array.dtype) for array in arrays)
            return tf.nest.map_structure(_first(0), function(*one))
        parts = []
        with self.progress(length=count) as bar:
            for i in range(0, count, batch_size):
                rows = [array[i : i + batch_size] for array in arrays]
                number = len(rows[0])
                outputs = function(*map(_filled_up, rows))
                parts.append(tf.nest.map_structure(_first(number), outputs))
                bar.update(number)
        return tf.nest.map_structure(lambda *each: np.concatenate(each), *parts)

    # Verbs of train_step

    def row_seeds(self, count, stream):
        """Derives a seed for each row that this replica draws in this step.

        The seeds depend on the model's seed, the step, the stream and the place of the
        row in the batch of all replicas. So replicas draw different rows, together the
        very rows that one replica would draw, and a resumed run goes on with the same.

        Args:
            count: Rows of this replica.
            stream: Integer that tells apart the draws of one step.

        Returns:
            Two int64 tensors of shape `[count]`: the seeds and the rows' places.
        """
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        count = tf.cast(count, tf.int64)
        rows = tf.cast(replica, tf.int64) * count + tf.range(count)
        return self._seeds_of(rows, stream, self.steps.value), rows

    def test_row_seeds(self, count):
        """Derives seeds as `row_seeds` does, for the current batch of `evaluate`.

        `evaluate` begins with the same ones each time, and may leave replicas with
        fewer rows than others. To be called once a batch.
        """
        # Training steps count up from 0, so tests take the negative numbers.
        step = -1 - self._evaluated_batches.value
        self._evaluated_batches.assign_add(1)
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group
        # TensorFlow fills the replicas in order, each like the first.
        is_first = tf.cast(tf.equal(replica, 0), tf.float32)
        full = context.all_reduce("sum", tf.cast(count, tf.float32) * is_first)
        before = tf.cast(replica, tf.int64) * tf.cast(full, tf.int64)
        rows = before + tf.range(tf.cast(count, tf.int64))
        return self._seeds_of(rows, 0, step), rows

    def _seeds_of(self, rows, stream, step):
        return rng.fold_in(rng.fold_in(rng.fold_in(self.seed, step), stream), rows)

    @contextlib.contextmanager
    def minimizing(self, *players):
        """Runs a block that computes losses, then updates the players' networks.

        ::

            with self.minimizing("discriminator") as losses:
                losses["discriminator"] = ...

        Several players share the block's forward pass and are updated together.
        Each loss is a mean over this replica's rows. A network that the block calls
        more than twice needs its loss as a list of terms, of two calls at most: the
        order in which TensorFlow adds three gradients depends on which memory is free,
        and with it the last bit. Penalties of the weights' own regularizers are
        minimized too, but are no part of the losses.

        Args:
            *players: Keys of `players`.

        Yields:
            Dict to be filled with a loss for each player, a scalar or a list of the
            scalars it is the sum of. Behind the block it holds the scalar.

        Raises:
            ValueError: If a loss is no scalar.
        """
        losses = {}
        replicas = self.distribute_strategy.num_replicas_in_sync
        with tf.GradientTape(persistent=True) as tape:
            yield losses
            objectives = {}
            for player in players:
                loss = losses[player]
                terms = loss if isinstance(loss, list) else [loss]
                losses[player] = sum(terms)
                terms = [*terms, *self._regularization(player)]
                # Keras sums gradients over replicas; the mean is wanted.
                objectives[player] = [
                    self._optimizer(player).scale_loss(
                        tf.cast(term, tf.float32) / replicas
                    )
                    for term in terms
                ]
                for term in objectives[player]:
                    if term.shape.rank:
                        raise ValueError(
                            f"The {player}'s loss is a scalar, the mean over its rows. "
                            f"Received: a tensor of shape {tuple(term.shape)}"
                        )
        gradients = {
            player: functools.reduce(
                _sums_of_two,
                (tape.gradient(term, self._trained_by(player)) for term in terms),
            )
            for player, terms in objectives.items()
        }
        # TensorFlow lets updates wait for all reads of a variable, but its graph
        # optimizer has been seen to forget some, such as a gradient penalty's of a
        # normalisation's offset.
        with tf.control_dependencies([losses[player] for player in players]):
            for player in players:
                variables = self._trained_by(player)
                optimizer = self._optimizer(player)
                if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                    gradients[player] = self._overflowing_everywhere(gradients[player])
                if variables:  # None are left of networks that the user froze.
                    optimizer.apply_gradients(
                        zip(gradients[player], variables, strict=True)
                    )

    def _overflowing_everywhere(self, gradients):
        """Returns gradients, NaN on each replica where those of any are not finite.

        Keras asks one replica alone, before gradients are added up, whether to leave an
        update out: it would add the others' infinities to the weights, and of several
        workers some would wait for those that update nothing.
        """
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return gradients
        known = [tf.convert_to_tensor(g) for g in gradients if g is not None]
        finite = [tf.reduce_all(tf.math.is_finite(g)) for g in known]
        overflows = tf.logical_not(tf.reduce_all(finite))
        share = self.mean_of_replicas(tf.cast(overflows, tf.float32))
        return [
            g if g is None else tf.where(share > 0.0, tf.constant(math.nan, g.dtype), g)
            for g in gradients
        ]

    def _regularization(self, player):
        """Returns scalars: the penalties of the weights that a player trains."""
        return [
            variable.regularizer(variable)
            for variable in self._trained_by(player)
            if variable.regularizer is not None
        ]

    def _optimizer(self, player):
        return getattr(self, f"{player}_optimizer")

    def pass_through(self, network, inputs):
        """Calls a network in training mode, leaving its moving statistics alone.

        Gradients flow through to the inputs. Calling the network itself would move the
        statistics of its batch normalisation on behalf of the other player. The state
        of Keras's random layers, such as Dropout, stays too: the network's next call
        draws what this one did.
        """
        outputs, _ = network.stateless_call(
            network.trainable_variables,
            network.non_trainable_variables,
            inputs,
            training=True,
        )
        return outputs

    def mean_where(self, marked, values):
        """Averages over the marked rows of all replicas; 0 where there are none.

        The result is this replica's share, such that the mean over replicas, which the
        gradient and the logs take, is the mean over all marked rows.

        Args:
            marked: Boolean tensor of shape `[n]`.
            values: float32 tensor of shape `[n]`.

        Returns:
            float32 scalar.
        """
        shares = tf.reduce_sum(values * tf.cast(marked, tf.float32))
        return tf.math.divide_no_nan(shares, self.mean_count(marked))

    def mean_count(self, marked):
        """Returns how many rows are marked, the mean of all replicas.

        By it the logs weigh what `mean_where` returns.
        """
        return self.mean_of_replicas(tf.reduce_sum(tf.cast(marked, tf.float32)))

    def label_loss(self, labels, logits, label_smoothing=0.0):
        """Returns the cross entropy in nats and the accuracy of the labelled rows.

        Both are means over the labelled rows of all replicas: rows with the label -1
        contribute nothing.

        Args:
            labels: Integers of shape `[n]`.
            logits: Tensor of shape `[n, classes]`.
            label_smoothing: Share of the target spread over all classes (Szegedy et
                al. 2016, section 7).

        Returns:
            Two float32 scalars. Their mean over replicas is the mean over rows.
        """
        classes = logits.shape[-1]
        logits = tf.cast(logits, tf.float32)
        targets = tf.one_hot(labels, classes)
        targets = targets * (1 - label_smoothing) + label_smoothing / classes
        # Of each row; those of rows without a label mean nothing.
        entropies = -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)
        hits = tf.argmax(logits, axis=-1) == tf.cast(labels, tf.int64)
        hits = tf.cast(hits, tf.float32)
        known = labels >= 0
        return self.mean_where(known, entropies), self.mean_where(known, hits)

    def mean_of_replicas(self, value):
        """Returns the mean of a tensor over replicas, through which gradients flow."""
        return tf.distribute.get_replica_context().all_reduce("mean", value)

    def end_step(self, count, weights=None, **values):
        """Counts the step and returns the logs of `train_step`.

        Args:
            count: Rows of this replica, by which the batch weighs in the epoch.
            weights: Dict from the names that weigh otherwise to their weights, such as
                `mean_count` of the rows with labels.
            **values: A scalar for each name in `logged`, the mean of this replica.
        """
        # Data whose length is not known end in the middle of a step.
        with tf.control_dependencies(list(values.values())):
            self.steps.assign_add(1)
        self._add_to_means(values, count, weights)
        return self._results([self._loss_tracker, *self._running_means.metrics])

    def make_train_function(self, force=False):
        """See `TrainingLoop.make_train_function`; Keras calls it in each `fit`.

        Raises:
            ValueError: If layers were frozen or released, or an optimizer was replaced,
                since `compile`. A step that is compiled would take no notice, and a
                file would lack the state of the optimizer, which Keras loads for the
                very same weights alone.
        """
        for player in self.players():
            if not optimizer_checks.is_built_for(
                self._optimizer(player), self._trained_by(player)
            ):
                raise ValueError(
                    f"The {player}'s optimizer has not the state of what it is to "
                    "train: layers were frozen or released, or it was replaced, since "
                    "compile, which settles that. Compile again."
                )
        super().make_train_function(force)

    def make_test_function(self, force=False):
        """See `TrainingLoop.make_test_function`; builds `compile(metrics=)` as well.

        Keras would do so in the first step, where replicas can't make variables.
        """
        given = self._compile_metrics
        if given is not None and not given.built:
            with self.distribute_strategy.scope():
                given.build(*self._example_of_metrics())
        super().make_test_function(force)

    def _example_of_metrics(self):
        """Returns a row of what `feed_metrics` takes: real and generated images."""
        return [tf.zeros((1, *self.image_shape))] * 2

    def feed_metrics(self, expected, given):
        """Gives `compile(metrics=)`, if there are any, a batch in `test_step`."""
        if self._compile_metrics is not None:
            self._compile_metrics.update_state(expected, given)

    def end_test_step(self, count, weights=None, **values):
        """Returns the logs of `test_step`: those of `end_step`, and the metrics'."""
        self._add_to_means(values, count, weights)
        return self._results(self.metrics)

    def _add_to_means(self, values, weight, weights):
        """Adds a batch to the means over the epoch.

        Args:
            values: Dict from name to scalar.
            weight: What the batch weighs, such as its rows.
            weights: Dict from the names that weigh otherwise to their weights, or None.
        """
        total = sum(value for name, value in values.items() if name.endswith("_loss"))
        self._loss_tracker.update_state(
            zero_without_rows(total, weight), sample_weight=weight
        )
        self._running_means.update(values, weight, weights or {})

    def _results(self, metrics):
        """Returns what metrics say, by their names."""
        logs = {}
        for metric in metrics:
            result = metric.result()
            logs |= result if isinstance(result, dict) else {metric.name: result}
        if spans_workers(self.distribute_strategy):
            # Keras concatenates the workers' logs and cannot do so with scalars.
            logs = {name: value[None] for name, value in logs.items()}
        return logs

    @property
    def metrics(self):
        """Keras's metrics of this model, and the running means of `logged`.

        Those of `compile(metrics=)` count once `evaluate` has fed them: Keras asks for
        all results at the end of every epoch, and training never does.
        """
        given = self._compile_metrics
        return [
            *(each for each in super().metrics if each is not given or given.built),
            *self._running_means.metrics,
        ]

    def reset_metrics(self):
        """Resets what is averaged over an epoch; Keras calls it."""
        super().reset_metrics()
        self._evaluated_batches.assign(0)

    def _networks_policy(self):
        """Builds the networks of a block with this model's dtype policy."""
        return networks.policy(self.dtype_policy)


def in_training_mode(network, inputs):
    """Calls a network that is being trained; see also `Model.pass_through`."""
    return network(inputs, training=True)


def in_inference_mode(network, inputs):
    """Calls a network that is being used."""
    return network(inputs, training=False)


def _arguments_of(function):
    """Returns the named arguments of a function, in order, as the keys of a dict."""
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def _optimizer_of(player, given):
    """Returns the Keras optimizer that an argument of `compile` stands for."""
    try:
        return keras.optimizers.get(given)
    except ValueError as error:
        raise ValueError(f"{player}_optimizer can't be built: {error}") from error


def _filled_up(rows):
    """Repeats the last row up to a multiple of `_ROW_BLOCK`."""
    missing = -len(rows) % _ROW_BLOCK
    return tf.constant(np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]))


def _first(count):
    """Returns a function from a tensor to its first rows, as float32 numpy."""
    return lambda tensor: tf.cast(tensor[:count], tf.float32).numpy()


def _sums_of_two(gradients, others):
    """Adds the gradients of two terms by each variable, None where it has none."""
    sums = []
    for one, other in zip(gradients, others, strict=True):
        if one is not None and other is not None:
            # The snapshot keeps the graph's optimizer from joining sums of two into
            # one of three.
            one = tf.raw_ops.Snapshot(input=tf.convert_to_tensor(one)) + other
        sums.append(other if one is None else one)
    return sums


def _config_of(value):
    """Returns the serialized object, or its class's name where it has no config."""
    try:
        return keras.saving.serialize_keras_object(value)
    except NotImplementedError:
        return type(value).__name__


def _without_names(config):
    """Returns a serialized object as JSON; Keras counts on in optimizers' names."""

    def unnamed(value):
        if isinstance(value, dict):
            return {k: unnamed(v) for k, v in value.items() if k != "name"}
        return [unnamed(v) for v in value] if isinstance(value, list) else value

    return unnamed(json.loads(json.dumps(config, default=repr)))
