"""Message passing on a graph: an encoder, layers in which nodes hear from their neighbors, a decoder."""

import enum
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ._checks import check_positive
from ._layers import Perceptron, apply_linear, scan_layers, stack_layers


class Aggregation(enum.Enum):
    """How the messages that reach a node are joined: `SUM`, or `MEAN` (zero for a node that no edge reaches)."""

    SUM = "sum"
    MEAN = "mean"


class MessagePassing(eqx.Module):
    r"""A graph network: encode the nodes, pass messages `depth` times, decode the nodes.

        h <- encode(nodes);     n_i = LayerNorm(h_i)
        m_ij = MLP(n_i, n_j, edges_ij)                           for every edge from sender j to receiver i
        h_i <- h_i + MLP(n_i, aggregate_j m_ij)                  `depth` times
        output_i = decode(LayerNorm(h_i))

    The first layer of the message network is linear in `n_i`, `n_j` and `edges_ij` apart, so its products with `n` are
    done once per node, and an edge only gathers and adds them. The first of the update network follows the
    aggregation, so the last linear layer of the message network is part of it: messages end in an activation.

    A graph comes in one of two forms. Any graph: `senders` and `receivers` `(edge,)`. One in which every node hears
    from the same number of others, as `nearest_neighbors` gives it: `senders` `(node, neighbor)` alone, which is
    faster (up to two times on a CPU), because nothing is scattered by receiver.

    **Arguments:**

    - `node_features`, `edge_features`, `out_features`: the numbers of features per node, edge and output node.
    - `width`: the features inside.
    - `depth`: how often messages are passed.
    - `message_depth`: the layers of the message network. 2 is usual; with 1 nothing but the edge features is
      multiplied per edge, which is the cheaper the more neighbors there are.
    - `aggregation`: how messages are joined.
    - `activation`: as for `FNO`.
    - `unroll`: layers laid out per turn of the loop over them, by default all of up to eight. On a CPU the gradient
      through a loop takes three times as long; 1 compiles fastest.
    - `key`: a random key.

    **Raises:** `ValueError` for a bad size.

    **Reference:** J. Brandstetter et al., Message Passing Neural PDE Solvers, 2022, arXiv:2202.03376; T. Pfaff et al.,
    Learning Mesh-Based Simulation with Graph Networks, 2020, arXiv:2010.03409.
    """

    encode: Perceptron
    layers: "MessageLayer"
    norm: eqx.nn.LayerNorm
    decode: Perceptron
    edge_features: int = eqx.field(static=True)
    unroll: int = eqx.field(static=True)

    def __init__(
        self,
        node_features: int,
        edge_features: int,
        out_features: int,
        *,
        width: int = 64,
        depth: int = 6,
        message_depth: int = 2,
        aggregation: Aggregation = Aggregation.MEAN,
        activation: Callable[[Array], Array] = jax.nn.gelu,
        unroll: int = 8,
        key: PRNGKeyArray,
    ):
        check_positive(
            "MessagePassing",
            node_features=node_features,
            edge_features=edge_features,
            out_features=out_features,
            width=width,
            depth=depth,
            message_depth=message_depth,
            unroll=unroll,
        )
        if not isinstance(aggregation, Aggregation):
            raise ValueError(
                f"MessagePassing got aggregation={aggregation!r}; expected Aggregation.SUM or Aggregation.MEAN."
            )
        encode, layers, decode = jax.random.split(key, 3)
        self.encode = Perceptron(
            node_features, width, width=width, depth=1, activation=activation, key=encode
        )
        self.layers = stack_layers(
            lambda k: MessageLayer(
                width,
                edge_features,
                message_depth=message_depth,
                aggregation=aggregation,
                activation=activation,
                key=k,
            ),
            depth,
            layers,
        )
        self.norm = eqx.nn.LayerNorm(width)
        self.decode = Perceptron(width, out_features, width=width, depth=1, activation=activation, key=decode)
        self.edge_features = edge_features
        self.unroll = unroll

    def __call__(
        self,
        nodes: Float[Array, "node feature"],
        senders: Int[Array, "..."],
        receivers: Int[Array, " edge"] | None,
        edges: Float[Array, "..."],
    ) -> Float[Array, "node out"]:
        """Apply the network.

        **Arguments:**

        - `nodes`: node features `(node, feature)`.
        - `senders`: where each edge starts: node indices `(edge,)`, or `(node, neighbor)`.
        - `receivers`: where each edge ends: node indices `(edge,)`, or None with senders `(node, neighbor)`. An edge
          whose receiver is the number of nodes is ignored, so that graphs of different sizes can be padded to one.
        - `edges`: edge features `(edge, feature)`, or `(node, neighbor, feature)`.

        **Returns:** output features `(node, out)`.

        **Raises:** `ValueError` for a wrong shape or a batch axis.
        """
        self._check(nodes, senders, receivers, edges)
        extra = (senders, edges) if receivers is None else (senders, edges, receivers)
        h = scan_layers(self.layers, self.encode(nodes), self.unroll, *extra)
        return self.decode(jax.vmap(self.norm)(h))

    def _check(self, nodes: Array, senders: Array, receivers: Array | None, edges: Array) -> None:
        features = self.encode.first.in_features
        if nodes.ndim != 2 or nodes.shape[1] != features:
            raise ValueError(
                f"MessagePassing got nodes of shape {nodes.shape}; it was built for (node, {features}). "
                "If the first axis is a batch, write jax.vmap(model, ...)."
            )
        for name, index in (("senders", senders), ("receivers", receivers)):
            if index is not None and not jnp.issubdtype(index.dtype, jnp.integer):
                raise ValueError(
                    f"MessagePassing got {name} of type {index.dtype}; expected integers, indices of nodes."
                )
        if receivers is None and (senders.ndim != 2 or senders.shape[0] != nodes.shape[0]):
            raise ValueError(
                f"MessagePassing got senders of shape {senders.shape} without receivers; expected "
                f"({nodes.shape[0]}, neighbor), a row per node; for any other graph give both as (edge,)."
            )
        if receivers is not None and (senders.ndim != 1 or receivers.shape != senders.shape):
            raise ValueError(
                f"MessagePassing got senders of shape {senders.shape} and receivers of shape {receivers.shape}; "
                "expected (edge,) for both, or receivers=None with senders (node, neighbor)."
            )
        if edges.shape != (*senders.shape, self.edge_features):
            raise ValueError(
                f"MessagePassing got edges of shape {edges.shape}; expected {(*senders.shape, self.edge_features)}: "
                f"the shape of senders, and the {self.edge_features} features it was built for."
            )


class MessageLayer(eqx.Module):
    """One round of messages of a `MessagePassing` network.

    **Arguments:**

    - `width`: the features of a node.
    - `edge_features`: the features of an edge.
    - `message_depth`, `aggregation`, `activation`, `key`: as for `MessagePassing`.
    """

    norm: eqx.nn.LayerNorm
    from_sender: eqx.nn.Linear
    from_receiver: eqx.nn.Linear
    from_edge: eqx.nn.Linear
    hidden: tuple[eqx.nn.Linear, ...]
    update: Perceptron
    aggregation: Aggregation = eqx.field(static=True)
    activation: Callable[[Array], Array] = eqx.field(static=True)

    def __init__(
        self,
        width: int,
        edge_features: int,
        *,
        message_depth: int,
        aggregation: Aggregation,
        activation: Callable[[Array], Array],
        key: PRNGKeyArray,
    ):
        sender, receiver, edge, update, *hidden = jax.random.split(key, 3 + message_depth)
        self.norm = eqx.nn.LayerNorm(width)
        self.from_sender = eqx.nn.Linear(width, width, use_bias=False, key=sender)
        self.from_receiver = eqx.nn.Linear(width, width, key=receiver)
        self.from_edge = eqx.nn.Linear(edge_features, width, use_bias=False, key=edge)
        self.hidden = tuple(eqx.nn.Linear(width, width, key=k) for k in hidden)
        self.update = Perceptron(2 * width, width, width=width, depth=1, activation=activation, key=update)
        self.aggregation = aggregation
        self.activation = activation

    def __call__(
        self,
        h: Float[Array, "node width"],
        senders: Int[Array, "..."],
        edges: Float[Array, "..."],
        receivers: Int[Array, " edge"] | None = None,
    ) -> Float[Array, "node width"]:
        """Pass messages once.

        **Arguments:**

        - `h`: node states `(node, width)`.
        - `senders`, `edges`, `receivers`: as for `MessagePassing`: `(edge,)`, `(edge, feature)`, `(edge,)`; or
          `(node, neighbor)`, `(node, neighbor, feature)`, None.

        **Returns:** the new node states `(node, width)`.
        """
        n = jax.vmap(self.norm)(h)
        own = apply_linear(self.from_receiver, n)
        # Clipped rather than filled: the ends of a padding edge do not matter, but a nan would reach the gradient.
        own = own[:, None] if receivers is None else own.at[receivers].get(mode="clip")
        heard = apply_linear(self.from_sender, n).at[senders].get(mode="clip")
        messages = self.activation(own + heard + apply_linear(self.from_edge, edges))
        for layer in self.hidden:
            messages = self.activation(apply_linear(layer, messages))
        joined = self._aggregate(messages, receivers, h.shape[0])
        return h + self.update(jnp.concatenate([n, joined], axis=-1))

    def _aggregate(self, messages: Array, receivers: Array | None, nodes: int) -> Float[Array, "node width"]:
        mean = self.aggregation is Aggregation.MEAN
        if receivers is None:
            return jnp.mean(messages, axis=1) if mean else jnp.sum(messages, axis=1)
        total = jax.ops.segment_sum(messages, receivers, nodes)
        if not mean:
            return total
        count = jax.ops.segment_sum(jnp.ones(receivers.shape, messages.dtype), receivers, nodes)
        return total / jnp.maximum(count, 1)[:, None]
