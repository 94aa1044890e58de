"""Measure what one core's byte products can do at most: AVX-512 VNNI on registers alone, without a
single load.
"""

import ctypes
import time

import llvmlite.binding as llvm
import numpy as np

from reid_ray.matching import vnni

_CHAINS = 16
"""Independent sums under way; the instruction takes four cycles."""
_STEPS = 1_000_000
_OPERATIONS = _STEPS * _CHAINS * 64 * 2


def measure(rounds: int) -> float | None:
    """GOP/s (multiplications and additions), the best of some rounds; None without VNNI."""
    if not vnni.supported():
        return None
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_source()), machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)
    run = kind(engine.get_function_address("run"))
    buffer = np.zeros(16, np.int32)
    least = np.inf
    for _ in range(rounds):
        begin = time.process_time()
        run(_STEPS, buffer.ctypes.data)
        least = min(least, time.process_time() - begin)
    return float(_OPERATIONS / least / 1e9)


def _source() -> str:
    """LLVM's text of a loop of nothing but dot products."""
    vector = "<16 x i32>"
    dot = f"call {vector} @llvm.x86.avx512.vpdpbusd.512"
    chains = range(_CHAINS)
    lines = [
        f"declare {vector} @llvm.x86.avx512.vpdpbusd.512({vector}, {vector}, {vector})",
        "define void @run(i64 %steps, ptr %out) {",
        f"entry:\n %a = load {vector}, ptr %out, align 4\n br label %loop",
        "loop:\n %i = phi i64 [0, %entry], [%j, %loop]",
        *(f" %x{c} = phi {vector} [%a, %entry], [%y{c}, %loop]" for c in chains),
        *(f" %y{c} = {dot}({vector} %x{c}, {vector} %a, {vector} %a)" for c in chains),
        " %j = add i64 %i, 1\n %more = icmp slt i64 %j, %steps",
        " br i1 %more, label %loop, label %done\ndone:\n %s0 = add <16 x i32> %y0, %y0",
        *(f" %s{c} = add {vector} %s{c - 1}, %y{c}" for c in chains if c),
        f" store {vector} %s{_CHAINS - 1}, ptr %out, align 4\n ret void\n}}",
    ]
    return "\n".join(lines)
