"""Equations 3 to 9 and 12 in NumPy, one sentence at a time and in the paper's form, to compare the modules with.

Nothing is padded, concatenation is concatenation, and a weight is the matrix that the paper names.
"""

import numpy as np


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x, scale, shift):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * scale + shift


def equation_4(sentences, W_q, W_k, W_v, norm=None):
    """List of m_i x d -> list of the same shapes; `norm` (scale, shift) puts residual and LayerNorm around."""
    h_cat = np.concatenate(sentences)
    Q, K, V = h_cat @ W_q, h_cat @ W_k, h_cat @ W_v
    mixed = softmax(Q @ K.T / np.sqrt(h_cat.shape[1])) @ V
    if norm is not None:
        mixed = layer_norm(h_cat + mixed, *norm)
    return np.split(mixed, np.cumsum([len(h) for h in sentences])[:-1])


def equation_5(n, E_l, W_f):
    return softmax(E_l[n] @ W_f)


def equation_7(h, layers):
    """`layers` of (W_u, W_d, scale, shift), one after the other."""
    for W_u, W_d, scale, shift in layers:
        h = layer_norm(np.maximum(h @ W_u, 0) @ W_d + h, scale, shift)
    return h


def equation_8(h, f, sub_modules, k, renormalise=True):
    """The k sub-modules with the largest f."""
    chosen = np.argsort(-f)[:k]
    total = f[chosen].sum() if renormalise else 1.0
    return sum(f[t] / total * equation_7(h, sub_modules[t]) for t in chosen)


def equation_9(h, r_e, W_y, U_y):
    """m logits of one y; W_y is 2d x d and U_y d x 1."""
    concatenated = np.concatenate([h, np.repeat(r_e[None], len(h), axis=0)], axis=1)
    return (np.tanh(concatenated @ W_y) @ U_y)[:, 0]


def cross_entropy(logits, gold):
    return -np.log(softmax(logits)[gold])


# From a model's weights (state-dict names and layouts, as float64 arrays) to the paper's matrices.


def aggregator_matrices(weights, prefix="aggregator."):
    W_q, W_k, W_v = np.split(weights[f"{prefix}qkv.weight"].T, 3, axis=1)
    norm = None
    if f"{prefix}norm.weight" in weights:
        norm = weights[f"{prefix}norm.weight"], weights[f"{prefix}norm.bias"]
    return W_q, W_k, W_v, norm


def sub_modules(weights, submodule_layers, prefix="switcher."):
    """Per sub-module its list of (W_u, W_d, scale, shift)."""
    depths = sorted(set(submodule_layers))
    seen = {depth: 0 for depth in depths}
    result = []
    for depth in submodule_layers:
        group, member = depths.index(depth), seen[depth]
        seen[depth] += 1
        result.append([_layer(weights, f"{prefix}groups.{group}.{layer}.", member) for layer in range(depth)])
    return result


def language_sub_module(weights, n, depth, prefix="switcher."):
    """The same list of language n's own sub-module (mERE14)."""
    return [_layer(weights, f"{prefix}layers.{layer}.", n) for layer in range(depth)]


def _layer(weights, name, member):
    return (
        weights[name + "up_GDb"][member],
        weights[name + "down_GbD"][member],
        weights[name + "scale_G1D"][member, 0],
        weights[name + "shift_G1D"][member, 0],
    )


def head_matrices(weights, prefix="heads."):
    """Per y its W_y (2d x d) and U_y (d x 1)."""
    d = weights[f"{prefix}index_4D"].shape[1]
    tokens, relation = weights[f"{prefix}token_half.weight"], weights[f"{prefix}relation_half.weight"]
    rows = [slice(y * d, (y + 1) * d) for y in range(4)]
    return [
        (np.concatenate([tokens[row].T, relation[row].T]), weights[f"{prefix}index_4D"][y][:, None])
        for y, row in enumerate(rows)
    ]


def losses(weights, config, sentences, pooled, batch, s):
    """Eq. 3 to 12 after the encoder: each sentence's five terms (B x 5), loss (B) and, with `config.characters`, the
    part of the cut characters in it (B), else zeros.

    `sentences` are the encoder's outputs without padding, `pooled` its h_p; gold values from `batch`.
    """
    if config.use_la:
        groups = [sentences[i : i + s] for i in range(0, len(sentences), s)]
        matrices = aggregator_matrices(weights)
        sentences = [h for group in groups for h in equation_4(group, *matrices[:3], norm=matrices[3])]
    terms, cuts = [], []
    for i, h in enumerate(sentences):
        if config.stage == 2:
            h = switched(weights, config, h, batch["languages_B"][i])
        label = batch["labels_T"][i]
        if config.entity_heads == "states":
            logits = h @ weights["heads.positions.weight"].T
        else:
            r_e = weights["heads.relations.weight"][label]
            logits = np.stack([equation_9(h, r_e, W_y, U_y) for W_y, U_y in head_matrices(weights)], axis=1)
        entity = entity_terms(logits, batch["positions_T4"][i])
        terms.append([*entity, cross_entropy(pooled[i] @ weights["relation.weight"].T, label)])
        cuts.append(cut_term(weights, h, batch, i) if config.characters else 0.0)
    terms, cuts = np.array(terms), np.array(cuts)
    return terms, config.alpha / 2 * (terms[:, :4].sum(axis=1) + cuts) + config.beta * terms[:, 4], cuts


def cut_term(weights, h, batch, i):
    """The four cross-entropies of characters cut off a sentence's boundary tokens; what has no class counts nothing."""
    total = 0.0
    for y, (place, count) in enumerate(zip(batch["positions_T4"][i], batch["cuts_T4"][i], strict=True)):
        W, b = weights["cuts.counts_4CD"][y], weights["cuts.bias"].reshape(4, -1)[y]
        if 0 <= count < len(b):
            total += cross_entropy(W @ h[place] + b, count)
    return total


def switched(weights, config, h, n):
    """Eq. 5 to 8 of one sentence of language n, by all sub-modules or by the language's own."""
    if config.routing == "language":
        return equation_7(h, language_sub_module(weights, n, config.submodule_layers[n]))
    f = equation_5(n, weights["switcher.languages.weight"], weights["switcher.router.weight"].T)
    return equation_8(h, f, sub_modules(weights, config.submodule_layers), len(f))


def entity_terms(logits, positions):
    """The four cross-entropies of a sentence from its m x 4 logits; `[CLS]`, symbol and `[SEP]` are no candidates."""
    words = slice(2, len(logits) - 1)
    return [cross_entropy(logits[words, y], gold - 2) for y, gold in enumerate(positions)]


def numeric_gradients(function, weights, names, step=1e-6):
    """Central differences of `function(weights)` in every entry of the named arrays."""
    gradients = {}
    for name in names:
        gradient = np.zeros_like(weights[name])
        for index in np.ndindex(gradient.shape):
            changed = weights[name].copy()
            changed[index] += step
            above = function({**weights, name: changed})
            changed[index] -= 2 * step
            gradient[index] = (above - function({**weights, name: changed})) / (2 * step)
        gradients[name] = gradient
    return gradients


def arrays(module):
    """A module's weights as float64 arrays by name."""
    return {name: tensor.detach().double().numpy().copy() for name, tensor in module.state_dict().items()}
