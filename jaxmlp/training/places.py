"""Where arrays live: on one device, or on a mesh of devices of one or several processes.

With a mesh, data and parameters are whole on every device and the rows of a mini-batch are
shared out. Programs are written as for one device: XLA divides the work, and adds up what
the devices found, where `share_out` and `replicate` say how the arrays lie.
"""

import hashlib
from functools import partial
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Place: TypeAlias = jax.Device | NamedSharding | None
"""A device, all devices of a mesh, or, if None, JAX's default."""

T = TypeVar("T")


def whole(mesh: Mesh) -> NamedSharding:
    """Every device has the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def in_parts(mesh: Mesh) -> NamedSharding:
    """Every device has its part of the first axis, which is a multiple of their number."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))


def replicate(arrays: T, mesh: Mesh | None) -> T:
    """Has every device hold whole arrays, parts of sums added up; traced."""
    return arrays if mesh is None else _constrain(arrays, whole(mesh))


def share_out(arrays: T, mesh: Mesh | None) -> T:
    """Has every device hold, and compute, its part of the first axis; traced."""
    return arrays if mesh is None else _constrain(arrays, in_parts(mesh))


def _constrain(arrays: T, sharding: NamedSharding) -> T:
    return jax.tree.map(
        lambda array: jax.lax.with_sharding_constraint(array, sharding), arrays
    )


def check_mesh(mesh: Mesh) -> Mesh:
    """Returns the mesh, its axis divided up by the compiler.

    Raises:
      ValueError: It is no mesh, has not one axis, or leaves processes out.
    """
    if not isinstance(mesh, Mesh):
        raise ValueError(f"mesh must be a jax.sharding.Mesh, not {mesh!r}")
    if len(mesh.axis_names) != 1:
        raise ValueError(
            "mesh must have one axis, along which mini-batches are shared out, not "
            f"{mesh.axis_names}"
        )
    if not is_local(mesh):
        missing = set(range(jax.process_count()))
        missing -= {device.process_index for device in mesh.devices.flat}
        if missing:
            raise ValueError(
                f"mesh has no device of process {min(missing)}, of {jax.process_count()}: "
                "take devices of all, as jax.devices() has them, or of this process only, "
                "as jax.local_devices() has them"
            )
    # What jax.make_mesh makes has typed shardings, which programs would have to speak of.
    return Mesh(mesh.devices, mesh.axis_names)


def is_local(mesh: Mesh) -> bool:
    """Whether all devices are this process's."""
    return whole(mesh).is_fully_addressable


def mesh_of(place: Place) -> Mesh | None:
    """The mesh, if it is one."""
    if isinstance(place, NamedSharding):
        assert isinstance(place.mesh, Mesh)
        return place.mesh
    return None


def platform_of(place: jax.Device | NamedSharding) -> str:
    """`"cpu"`, `"gpu"` or `"tpu"`."""
    mesh = mesh_of(place)
    if mesh is not None:
        return mesh.devices.flat[0].platform
    assert isinstance(place, jax.Device)
    return place.platform


def put(arrays: Any, place: Place) -> Any:
    """Moves a pytree of arrays there; every process has the same ones."""
    if not isinstance(place, NamedSharding) or place.is_fully_addressable:
        return jax.device_put(arrays, place)
    return jax.tree.map(partial(_put_global, sharding=place), arrays)


def _put_global(array: Any, sharding: NamedSharding) -> jax.Array:
    # `jax.device_put` would first send all of it to all processes, to compare.
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = _put_global(jax.random.key_data(array), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    on_host = np.asarray(array, jnp.result_type(array))
    return jax.make_array_from_callback(
        on_host.shape, sharding, lambda index: on_host[index]
    )


def copy_local(arrays: T) -> T:
    """Copies arrays, each process those of its devices, so that one may do it alone."""

    def copy(array: jax.Array) -> jax.Array:
        parts = [jnp.copy(shard.data) for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, array.sharding, parts)

    return jax.tree.map(copy, arrays)


def gather(arrays: T, mesh: Mesh | None) -> T:
    """Makes arrays that lie in parts readable in all processes, which all call this."""
    if mesh is None or is_local(mesh):
        return arrays
    return multihost_utils.process_allgather(arrays, tiled=True)


def any_process(flag: object, mesh: Mesh | None) -> bool:
    """Whether the flag is true in one of the processes, which all call this."""
    if mesh is None or is_local(mesh):
        return bool(flag)
    return bool(np.any(multihost_utils.process_allgather(np.asarray(bool(flag)))))


def gather_bytes(own: bytes) -> list[bytes]:
    """What each process gives, in their order; all call this together."""
    if jax.process_count() == 1:
        return [own]
    sizes = multihost_utils.process_allgather(np.array([len(own)], np.int64))[:, 0]
    padded = np.zeros(max(1, int(sizes.max())), np.uint8)
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    of_all = np.asarray(multihost_utils.process_allgather(padded))
    return [row[:n].tobytes() for row, n in zip(of_all, sizes.tolist(), strict=True)]


def check_same(place: Place, **arguments: Any) -> None:
    """Raises ValueError unless all processes of a mesh were given the same.

    They would wait for each other for ever, or train on something between their data.

    Args:
      place: Where training will be.
      arguments: Arrays, pytrees of arrays, numbers and texts, by name.
    """
    mesh = mesh_of(place)
    if mesh is None or is_local(mesh):
        return
    digests = np.stack([_digest(value) for value in arguments.values()])
    of_all = multihost_utils.process_allgather(digests)
    differ = (of_all != of_all[0]).any(axis=(0, 2))
    names = [name for name, differs in zip(arguments, differ, strict=True) if differs]
    if names:
        raise ValueError(
            f"{', '.join(names)}: not the same in all {jax.process_count()} processes, "
            "which must all make this call with the same arguments"
        )


def _digest(value: Any) -> np.ndarray:
    """Four words that differ, for all practical purposes, where the values do."""
    leaves, structure = jax.tree.flatten(value)
    found = hashlib.blake2b(str(structure).encode(), digest_size=16)
    for leaf in leaves:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        found.update(f"{array.shape} {array.dtype}".encode())
        if array.dtype.hasobject:  # its bytes are addresses
            found.update(repr(array.tolist()).encode())
        else:
            found.update(np.ascontiguousarray(array).view(np.uint8).data)
    return np.frombuffer(found.digest(), np.uint32)
