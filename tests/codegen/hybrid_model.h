// A small model with caches and with state that has no positions; its weights are synthetic.
#pragma once

#include <gtest/gtest.h>

#include <utility>

#include "ir/text.h"
#include "models/import.h"

namespace sinter {

inline constexpr int kHybridVocabulary = 48;

// Two layers with short convolutions, of 4 and 3 taps, and between them one with attention, whose
// angles wait for nothing, and with attention to the same caches, which appends nothing. The
// embedding has no label.
inline constexpr const char* kHybrid = R"(module @hybrid {
  weight @inv_freq : weight<8, f32> = constant(1, 0.5, 0.3, 0.1, 0.05, 0.03, 0.01, 0.005)
  weight @embed : weight<48x64, f16> = source("embed")
  weight @a.in : weight<192x64, ternary b2 g32 f16> = source("a.in")
  weight @a.taps : weight<64x4, bf16> = source("a.taps")
  weight @a.out : weight<64x64, ternary b2 g32 f16> = source("a.out")
  weight @b.in : weight<40x64, ternary b2 g32 f16> = source("b.in")
  weight @b.taps : weight<40x3, f32> = source("b.taps")
  weight @b.bias : weight<40, f32> = source("b.bias")
  weight @b.out : weight<64x40, f16> = source("b.out")
  weight @qkv : weight<64x64, ternary b2 g32 f16> = source("qkv")
  weight @o : weight<64x32, ternary b2 g32 f16> = source("o")
  weight @norm : weight<64, f16> = source("norm")
  weight @sinks : weight<2, bf16> = source("sinks")
  weight @head : weight<48x64, f16> = source("head")
  state @a.inputs : state<3x64, fixed f32>
  state @keys : state<1xCx16, paged f16>
  state @values : state<1xCx16, paged f16>
  state @b.inputs : state<2x40, fixed f32>
  func @forward(%tokens: tensor<Txi32>) {
    %0 = rope_table @inv_freq, %tokens label "rope" : tensor<Tx16xf32>
    %1 = embed %tokens, @embed : tensor<Tx64xf32>
    %2 = matmul %1, @a.in label "a.in" : tensor<Tx192xf32>
    %3 = slice %2 {begin = 0, end = 64} : tensor<Tx64xf32>
    %4 = slice %2 {begin = 64, end = 128} : tensor<Tx64xf32>
    %5 = slice %2 {begin = 128, end = 192} : tensor<Tx64xf32>
    %6 = mul %3, %5 label "a.gate" : tensor<Tx64xf32>
    %7 = short_conv %6, @a.taps, @a.inputs label "a.conv" : tensor<Tx64xf32>
    %8 = mul %4, %7 label "a.mixed" : tensor<Tx64xf32>
    %9 = matmul %8, @a.out label "a.out" : tensor<Tx64xf32>
    %10 = add %1, %9 label "a.residual" : tensor<Tx64xf32>
    %11 = matmul %10, @qkv label "qkv" : tensor<Tx64xf32>
    %12 = slice %11 {begin = 0, end = 32} : tensor<Tx32xf32>
    %13 = slice %11 {begin = 32, end = 48} : tensor<Tx16xf32>
    %14 = slice %11 {begin = 48, end = 64} : tensor<Tx16xf32>
    %15 = reshape %12 : tensor<Tx2x16xf32>
    %16 = reshape %13 : tensor<Tx1x16xf32>
    %17 = reshape %14 : tensor<Tx1x16xf32>
    %18 = rope %15, %0 : tensor<Tx2x16xf32>
    %19 = rope %16, %0 : tensor<Tx1x16xf32>
    kv_append @keys, %19
    kv_append @values, %17
    %20 = attention %18, @keys, @values {scale = 0.25} label "attention" : tensor<Tx32xf32>
    %32 = reshape %20 : tensor<Tx2x16xf32>
    %33 = rms_norm %32 {eps = 1e-05} label "again.norm" : tensor<Tx2x16xf32>
    %34 = attention %33, @keys, @values, @sinks {scale = 0.5, softcap = 5.0} label "again" : tensor<Tx32xf32>
    %21 = matmul %34, @o label "o" : tensor<Tx64xf32>
    %22 = add %10, %21 label "o.residual" : tensor<Tx64xf32>
    %23 = matmul %22, @b.in label "b.in" : tensor<Tx40xf32>
    %24 = short_conv %23, @b.taps, @b.inputs label "b.conv" : tensor<Tx40xf32>
    %25 = add %24, @b.bias label "b.bias" : tensor<Tx40xf32>
    %26 = silu %25 label "b.silu" : tensor<Tx40xf32>
    %27 = matmul %26, @b.out label "b.out" : tensor<Tx64xf32>
    %28 = add %22, %27 label "b.residual" : tensor<Tx64xf32>
    %29 = rms_norm %28, @norm {eps = 1e-05} label "norm" : tensor<Tx64xf32>
    %30 = last_rows %29 : tensor<Lx64xf32>
    %31 = matmul %30, @head label "head" : tensor<Lx48xf32>
    return %31
  }
}
)";

inline models::ImportedModel hybrid_model() {
  models::ImportedModel model;
  auto module = ir::parse(kHybrid, "hybrid");
  EXPECT_TRUE(module.ok()) << module.status();
  if (module.ok()) model.module = *std::move(module);
  model.architecture = "hybrid";
  model.vocab_size = kHybridVocabulary;
  model.layers = 3;
  model.max_positions = 192;
  return model;
}

}  // namespace sinter
