"""The interface of every structured matrix, and the contract that goes with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from surm_lite.matrices import fft
from surm_lite.matrices.arguments import Number as Number
from surm_lite.matrices.arguments import broadcast, check_draw, check_length, check_tensor, kind_of
from surm_lite.matrices.operators import DisplacementOperator, Shift

M = TypeVar("M", bound="StructuredMatrix")

KEPT: WeakKeyDictionary[StructuredMatrix, tuple[list[bytes], Any]] = WeakKeyDictionary()
"""Operator -> the bytes of its tensors, and what ``_prepare`` made of them. Copies and pickles start without one."""


class StructuredMatrix(ABC):
    """An m x n matrix held as the few numbers that define it.

    A family says what its numbers are (``fields``), how they are laid out in the matrix (``to_dense``), and how to
    multiply without forming it (``_product``). Everything else is here. Operators are light and immutable: they hold
    tensors, never ``nn.Parameter``, and autograd flows through them.

    The contract, checked by ``surm_lite.check_family`` on every family, size, dtype and batch shape:

    * ``apply(x) == x @ to_dense().mT`` for x of shape (..., n); ``A @ X == to_dense() @ X`` for X of shape (n,) or
      (..., n, k). Leading batch dimensions of x are free and broadcast against those of the parameters.
    * ``A.T.to_dense() == A.to_dense().mT``: the plain transpose, also for complex numbers.
    * ``apply`` on one vector never forms a tensor of m * n elements; its gradients are those of the dense twin.
    * ``n_params`` counts the numbers, ``dof`` the independent ones among them (the rank of the map from numbers to
      matrices), ``flops(batch)`` the real operations of ``apply`` on ``batch`` vectors.
    * half and bfloat16 are computed in float32 where an FFT needs it, and cast back.
    """

    fields: ClassVar[Mapping[str, int]]
    """Name of each defining tensor -> its number of trailing, non-batch dimensions."""
    square: ClassVar[bool] = False
    """True where only n x n members exist."""
    formula: ClassVar[str]
    """The entries, or the factors, as one writes them on a board."""
    by_fft: ClassVar[bool] = True
    """True where the product runs through an FFT, hence in at least float32."""
    costly: ClassVar[bool] = False
    """True where the product takes so many transforms that a small matrix had better be formed for many vectors."""

    operators: ClassVar[tuple[DisplacementOperator, DisplacementOperator]] = (Shift(1), Shift(-1))
    """A and B of the displacement ``A M - M B`` that suits the family; for most, the pair of the Toeplitz matrices."""

    shape: tuple[int, int]

    # -- what a family writes -------------------------------------------------------------------------------------

    @abstractmethod
    def to_dense(self) -> Tensor:
        """The matrix itself, (*batch, m, n), from the definition: the oracle of every fast path."""

    @abstractmethod
    def _product(self, x: Tensor) -> Tensor:
        """``x W^T`` for an x of the right size and a dtype that the family can compute in."""

    def _prepare(self) -> Any:
        """What ``_product`` needs of the numbers alone, such as their spectrum. It finds it in ``prepared``."""
        return None

    @property
    def width(self) -> int:
        """Numbers that the product of one vector keeps at a time; 0 where splitting a batch would not pay."""
        return 0

    def adjoint(self, g: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """The gradient of ``sum(g * apply(x))`` for each of ``tensors``, no m x n matrix formed: g (k, m), x (k, n)."""
        raise TypeError(f"{type(self).__name__} has no adjoint of its own; autograd differentiates apply")

    @property
    @abstractmethod
    def T(self) -> StructuredMatrix:
        """The plain transpose, as a structured matrix."""

    @abstractmethod
    def flops(self, batch: int = 1) -> int:
        """Real operations of ``apply`` on ``batch`` vectors, transforms of the parameters included."""

    @classmethod
    @abstractmethod
    def random(
        cls: type[M], m: int, n: int | None = None, *, generator: torch.Generator | None = None, **like: Any
    ) -> M:
        """A random m x n member with independent Gaussian numbers, scaled so that E|Wx|^2 = (m/n)|x|^2."""

    # -- what every family gets -----------------------------------------------------------------------------------

    def _set(self, shape: tuple[int, int], **values: Any) -> None:
        """Fills the instance once; ``__setattr__`` refuses any later change."""
        self.__dict__.update(values, shape=shape)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: build a new one, or use with_tensors(...)")

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The defining tensors, in the order of the constructor."""
        return tuple(getattr(self, name) for name in self.fields)

    @property
    def options(self) -> dict[str, Any]:
        """Constructor arguments that are not tensors."""
        return {}

    def with_tensors(self: M, *tensors: Tensor) -> M:
        """The same structure over other tensors."""
        return type(self)(*tensors, **self.options)

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """``torch.Tensor.to`` on every defining tensor."""
        return self.with_tensors(*(t.to(*args, **kwargs) for t in self.tensors))

    @property
    def batch_shape(self) -> torch.Size:
        """Leading dimensions of the defining tensors, broadcast together."""
        shapes = {t.shape[: t.ndim - core] for t, core in zip(self.tensors, self.fields.values())}
        return shapes.pop() if len(shapes) == 1 else torch.broadcast_shapes(*shapes)

    def displacement_pair(self) -> tuple[Tensor, Tensor]:
        """The two ``operators`` as dense matrices, (m, m) and (n, n)."""
        (left, right), (m, n) = self.operators, self.shape
        return left.dense(self, m), right.dense(self, n)

    @property
    def dtype(self) -> torch.dtype:
        return self.tensors[0].dtype

    @property
    def device(self) -> torch.device:
        return self.tensors[0].device

    @property
    def n_params(self) -> int:
        """Numbers of one matrix, batch dimensions not counted: what is trained and stored."""
        return sum(t.shape[t.ndim - core :].numel() for t, core in zip(self.tensors, self.fields.values()))

    @property
    def dof(self) -> int:
        """Degrees of freedom: how many of the numbers are independent, the dimension of the set of such matrices."""
        return self.n_params

    @classmethod
    def has_adjoint(cls) -> bool:
        """Whether the family writes one."""
        return cls.adjoint is not StructuredMatrix.adjoint

    def apply(self, x: Tensor) -> Tensor:
        """``x W^T``, as ``nn.Linear`` does it, without forming W.

        Args:
            x: (..., n), real or complex; its leading dimensions broadcast against ``batch_shape``.

        Returns:
            (..., m), in the dtype to which the parameters and x promote.

        Raises:
            TypeError: x is not a tensor of one of ``DTYPES``.
            ValueError: the last dimension of x is not n, its batch does not broadcast, or it lies on another device.
        """
        m, n = self.shape
        check_tensor(x, "x", 1, type(self).__name__)
        if x.shape[-1] != n:
            raise ValueError(f"x has shape {tuple(x.shape)}; a {m} x {n} {type(self).__name__} needs (..., {n})")
        if x.device != self.device:
            raise ValueError(f"x is on {x.device}, but the {type(self).__name__} is on {self.device}")
        batch = broadcast("x", x.shape[:-1], "the parameters", self.batch_shape)
        dtype = torch.promote_types(self.dtype, x.dtype)
        if 0 in batch:  # nothing to multiply, and FFT libraries refuse an empty batch; yet gradients exist, and are 0
            return sum((t.sum() for t in self.tensors), x[..., :1].expand(*batch, m).to(dtype))
        inner = fft.computing_dtype(dtype) if self.by_fft else dtype
        this = self if self.dtype == inner else self.to(inner)
        return this._by_rows(x.to(inner)).to(dtype)

    def _by_rows(self, x: Tensor) -> Tensor:
        """``_product``, on a CPU a few vectors at a time: what stays in cache is up to four times as fast."""
        m, n = self.shape
        one = x.numel() == n or self.batch_shape or x.device.type != "cpu" or not fft.unwatched(x, *self.tensors)
        width = 0 if one else self.width
        rows = max(1, fft.CACHED // width) if width else x.numel()
        if rows * n >= x.numel():
            return self._product(x)
        y = x.new_empty(*x.shape[:-1], m)
        for some, out in zip(x.reshape(-1, n).split(rows), y.view(-1, m).split(rows)):
            out.copy_(self._product(some))
        return y

    @property
    def prepared(self) -> Any:
        """``_prepare()``, kept while the numbers are what they were: a third of a product with one vector.

        They are compared byte by byte, in a fortieth of the time of the product. Nothing less is safe: torch does not
        count writes through ``.data``, a numpy view or another process. A comparison on an accelerator would have to
        wait for it, so there nothing is kept.
        """
        tensors = self.tensors
        if not tensors[0].is_cpu or tensors[0].dtype == torch.bfloat16 or not fft.unwatched(*tensors):
            return self._prepare()
        numbers, kept = [t.numpy(force=True).tobytes() for t in tensors], KEPT.get(self)
        if kept is None or kept[0] != numbers:
            with torch.inference_mode(False), torch.no_grad():  # of use also outside of an inference mode
                kept = KEPT[self] = numbers, self._prepare()
        return kept[1]

    def __matmul__(self, X: Tensor) -> Tensor:
        """``W X`` with the shapes of ``torch.matmul``: X is (n,) or (..., n, k)."""
        check_tensor(X, "X", 1, type(self).__name__)
        if X.ndim == 1:
            return self.apply(X)
        if X.shape[-2] != self.shape[1]:
            wanted = f"({self.shape[1]},) or (..., {self.shape[1]}, k)"
            raise ValueError(f"X has shape {tuple(X.shape)}; {self.shape[0]} x {self.shape[1]} @ X needs {wanted}")
        if not self.batch_shape:
            return self.apply(X.mT).mT
        broadcast("X", X.shape[:-2], "the parameters", self.batch_shape)
        # One axis between batch and parameters, so that the k columns of X do not meet the batch.
        pairs = zip(self.tensors, self.fields.values())
        return self.with_tensors(*(t.unsqueeze(t.ndim - core) for t, core in pairs)).apply(X.mT).mT

    __array_ufunc__ = None  # numpy leaves its operators to ours, instead of taking a matrix for one number

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuses: numpy would hold an m x n array, and forming one is never done unasked."""
        raise TypeError(
            f"{kind_of(self)} is no array; A.to_dense().numpy() forms one, of {self.shape[0]} x {self.shape[1]}"
        )

    def __repr__(self) -> str:
        m, n = self.shape
        field = "ℂ" if self.dtype.is_complex else "ℝ"
        batch = f", batch {tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"{type(self).__name__} {self.formula} ∈ {field}^({m}×{n}), {self.n_params:,} numbers{batch}"


def check_matrix(value: object, name: str) -> None:
    """A StructuredMatrix, or a TypeError."""
    if not isinstance(value, StructuredMatrix):
        also = "; torch.linalg is for dense ones" if isinstance(value, Tensor) else ""
        raise TypeError(f"{name} is {kind_of(value)}; it must be a structured matrix, such as sl.Toeplitz(...){also}")


def check_fields(owner: type[StructuredMatrix], **tensors: Tensor) -> None:
    """Every defining tensor of ``owner``: right kind, not empty, one dtype, one device, batches that broadcast."""
    first, like = next(iter(tensors.items()))
    for name, t in tensors.items():
        core = owner.fields[name]
        check_tensor(t, name, core, owner.__name__)
        if 0 in t.shape[t.ndim - core :]:
            raise ValueError(f"{name} of {owner.__name__} has shape {tuple(t.shape)}; its sizes must be at least 1")
        if t.dtype != like.dtype or t.device != like.device:
            mine, other = f"{t.dtype} on {t.device}", f"{like.dtype} on {like.device}"
            raise ValueError(f"{name} of {owner.__name__} is {mine}, but {first} is {other}; they must agree")
        broadcast(name, t.shape[: t.ndim - core], first, like.shape[: like.ndim - owner.fields[first]])


def check_size(owner: type[StructuredMatrix], m: int, n: int | None) -> tuple[int, int]:
    """Sizes for ``random``: positive, n defaulting to m, square where the family is."""
    n = m if n is None else n
    check_count(m, "m", owner)
    check_count(n, "n", owner)
    if owner.square and m != n:
        raise ValueError(f"{owner.__name__} is square; it cannot be {m} x {n}: m and n must agree")
    return m, n


def check_count(value: object, name: str, owner: type[StructuredMatrix]) -> None:
    """A whole number of at least 1 and below 2^31, or a ValueError."""
    check_length(value, f"{name} of {owner.__name__}")


def gaussian(
    *shape: int,
    std: float,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Independent N(0, std^2) numbers; with a generator, drawn on its device and then moved."""
    check_draw(dtype, device, generator)
    where = generator.device if generator is not None else device
    return torch.randn(*shape, generator=generator, dtype=dtype, device=where).to(device).mul(std)
