// SPDX-License-Identifier: Apache-2.0
#pragma once

// The instructions of sm_90a that CUDA C++ has no word for: barriers in shared memory that count bytes, the copy engine
// for tensors, products of a warpgroup (four warps). Shared memory is named by its 32-bit address.
#include <cuda.h>

#include <cstdint>

#define VORTA_DEVICE __device__ __forceinline__

namespace vorta::kernels {

VORTA_DEVICE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// `x`, which all lanes of the warp hold, in a way that tells the compiler so: operands and branches of warpgroup
/// products must be the same in all lanes to stay fast.
VORTA_DEVICE int same_in_all_lanes(int x) { return __shfl_sync(~0u, x, 0); }

// ---- Barriers in shared memory, 8 bytes each.

VORTA_DEVICE void barrier_init(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/// Makes initialised barriers visible to the copy engine; a __syncthreads() must follow.
VORTA_DEVICE void barrier_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

VORTA_DEVICE void barrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/// The barrier that has this address in block `rank` of the cluster.
VORTA_DEVICE uint32_t barrier_in_block(uint32_t barrier, int rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(barrier), "r"(rank));
  return there;
}
/// At what `barrier_in_block` returned. Releases no writes to the other block: it says that reads are done.
VORTA_DEVICE void barrier_arrive_in_cluster(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
}

VORTA_DEVICE void barrier_arrive_expecting(uint32_t barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/// Waits, as a whole warp, until the phase of that parity has completed.
VORTA_DEVICE void barrier_wait(uint32_t barrier, int parity) {
  uint32_t done;
  do {
    asm volatile(
        "{\n.reg .pred done;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n}\n"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (!__all_sync(~0u, done != 0));  // the vote keeps the warp together, and the compiler sure of it
}

// ---- Named barriers of the block: 0 is __syncthreads'.

VORTA_DEVICE void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// ---- Clusters of blocks.

VORTA_DEVICE int cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
/// All threads of all blocks of the cluster.
VORTA_DEVICE void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// ---- Copies.

VORTA_DEVICE void prefetch_tensor_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/// One box of a four-dimensional tensor -> shared memory; reports its bytes to `barrier`. Rows outside the tensor
/// arrive as zeros.
VORTA_DEVICE void copy_box(uint32_t to, const CUtensorMap* map, uint32_t barrier, int column, int row, int head,
                           int batch) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(column), "r"(row), "r"(head), "r"(batch)
      : "memory");
}

/// The same, to the same place in all blocks of the cluster that `block_mask` names, and to their barriers.
VORTA_DEVICE void copy_box_to_cluster(uint32_t to, const CUtensorMap* map, uint32_t barrier, int column, int row,
                                      int head, int batch, uint16_t block_mask) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(to),
      "l"(map), "r"(barrier), "r"(column), "r"(row), "r"(head), "r"(batch), "h"(block_mask)
      : "memory");
}

/// 16 bytes of global memory -> shared memory, past L1.
VORTA_DEVICE void copy_16_bytes(uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

/// Waits for this thread's own copies and hands what they wrote to the tensor cores.
VORTA_DEVICE void wait_for_own_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- Registers move between warpgroups.

template <int kRegisters>
VORTA_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
VORTA_DEVICE void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// ---- Products of a warpgroup, bfloat16 in, float32 sums in registers.

VORTA_DEVICE void warpgroup_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
VORTA_DEVICE void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until at most `kPending` committed groups are unfinished.
template <int kPending>
VORTA_DEVICE void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Operand in shared memory, rows of 128 bytes in groups of eight (1 KB, 128-byte swizzle). `column_stride` is the
/// distance in bytes between blocks of 64 columns, read only where the columns are the outer dimension of the product.
VORTA_DEVICE uint64_t shared_operand(uint32_t address, uint32_t column_stride) {
  constexpr uint64_t kSwizzle128 = 1ull << 62;
  constexpr uint64_t kRowGroupStride = 1024 >> 4;
  return kSwizzle128 | kRowGroupStride << 32 | static_cast<uint64_t>(column_stride >> 4) << 16 |
         ((address & 0x3ffff) >> 4);
}
/// How far an address moves inside `shared_operand`.
VORTA_DEVICE constexpr uint64_t operand_step(uint32_t bytes) { return bytes >> 4; }

#define VORTA_ACC8(i)                                                                                         \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define VORTA_ACC16(i) VORTA_ACC8(i), VORTA_ACC8(i + 8)

/// d [64, kKeys] (+)= queries [64, 16] . keys [kKeys, 16]^T, both operands with contiguous columns.
template <int kKeys>
struct ScoreProduct;

template <>
struct ScoreProduct<176> {
  VORTA_DEVICE static void issue(float (&d)[88], uint64_t queries, uint64_t keys, int accumulate) {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %90, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n176k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "
        "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "
        "%28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "
        "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "
        "%56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, "
        "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, "
        "%84, %85, %86, %87}"
        ", %88, %89, p, 1, 1, 0, 0;\n}\n"
        : VORTA_ACC16(0), VORTA_ACC16(16), VORTA_ACC16(32), VORTA_ACC16(48), VORTA_ACC16(64), VORTA_ACC8(80)
        : "l"(queries), "l"(keys), "r"(accumulate));
  }
};

/// d [64, 128] (+)= weights [64, 16], in registers, . values [16, 128] with contiguous columns.
VORTA_DEVICE void issue_value_product(float (&d)[64], const uint32_t (&weights)[4], uint64_t values, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "
      "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "
      "%28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "
      "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "
      "%56, %57, %58, %59, %60, %61, %62, %63}"
      ", {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}\n"
      : VORTA_ACC16(0), VORTA_ACC16(16), VORTA_ACC16(32), VORTA_ACC16(48)
      : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "l"(values), "r"(accumulate));
}

/// d [64, 64] (+)= weights [64, 16], in registers, . values [16, 64] with contiguous columns.
VORTA_DEVICE void issue_value_product(float (&d)[32], const uint32_t (&weights)[4], uint64_t values, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "
      "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "
      "%28, %29, %30, %31}"
      ", {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
      : VORTA_ACC16(0), VORTA_ACC16(16)
      : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "l"(values), "r"(accumulate));
}

#undef VORTA_ACC8
#undef VORTA_ACC16

/// Two numbers rounded to bfloat16; `low` is the one with the lower address.
VORTA_DEVICE uint32_t pack_bfloat16(float low, float high) {
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

/// total += x, in the order of the text among other such statements.
VORTA_DEVICE void add_now(float& total, float x) { asm volatile("add.f32 %0, %0, %1;" : "+f"(total) : "f"(x)); }

/// Keeps what computes `x` before the waits that follow.
VORTA_DEVICE void compute_now(float& x) { asm volatile("" : "+f"(x)); }

/// 2^x, relative error 2^-22; 0 for minus infinity. Stays on its side of every wait, where it may overlap products: the
/// compiler would rather compute it next to its use.
VORTA_DEVICE float fast_exp2(float x) {
  float y;
  asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace vorta::kernels
