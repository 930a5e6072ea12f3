// Small models with caches and with state that has no positions; their weights are synthetic.
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

// A layer of a gated delta net, one with attention, and again one with a delta rule, whose heads
// differ and whose keys are those of every third.
inline constexpr const char* kDelta = R"(module @delta {
  weight @inv_freq : weight<8, f32> = constant(1, 0.5, 0.3, 0.1, 0.05, 0.03, 0.01, 0.005)
  weight @embed : weight<48x64, f16> = source("embed")
  weight @a.in : weight<200x64, ternary b2 g32 f16> = source("a.in")
  weight @a.taps : weight<128x4, f32> = source("a.taps")
  weight @a.q_scale : weight<16, f32> = source("a.q_scale")
  weight @a.dt_bias : weight<4, f32> = source("a.dt_bias")
  weight @a.neg_exp_A_log : weight<4, f32> = source("a.neg_exp_A_log")
  weight @a.norm : weight<16, f32> = source("a.norm")
  weight @a.out : weight<64x64, ternary b2 g32 f16> = source("a.out")
  weight @qkv : weight<64x64, ternary b2 g32 f16> = source("qkv")
  weight @o : weight<64x32, ternary b2 g32 f16> = source("o")
  weight @b.in : weight<166x64, ternary b2 g32 f16> = source("b.in")
  weight @b.norm : weight<40, f16> = source("b.norm")
  weight @b.out : weight<64x120, f16> = source("b.out")
  weight @norm : weight<64, f16> = source("norm")
  weight @head : weight<48x64, f16> = source("head")
  state @a.inputs : state<3x128, fixed f32>
  state @a.delta : state<4x16x16, fixed f32>
  state @keys : state<1xCx16, paged f16>
  state @values : state<1xCx16, paged f16>
  state @b.delta : state<3x40x20, fixed f32>
  func @forward(%tokens: tensor<Txi32>) {
    %0 = embed %tokens, @embed : tensor<Tx64xf32>
    %1 = matmul %0, @a.in label "a.in" : tensor<Tx200xf32>
    %2 = slice %1 {begin = 0, end = 128} : tensor<Tx128xf32>
    %3 = short_conv %2, @a.taps, @a.inputs label "a.conv" : tensor<Tx128xf32>
    %4 = silu %3 label "a.silu" : tensor<Tx128xf32>
    %5 = slice %4 {begin = 0, end = 32} : tensor<Tx32xf32>
    %6 = reshape %5 : tensor<Tx2x16xf32>
    %7 = l2_norm %6 {eps = 1e-06} label "a.q" : tensor<Tx2x16xf32>
    %8 = mul %7, @a.q_scale label "a.q" : tensor<Tx2x16xf32>
    %9 = slice %4 {begin = 32, end = 64} : tensor<Tx32xf32>
    %10 = reshape %9 : tensor<Tx2x16xf32>
    %11 = l2_norm %10 {eps = 1e-06} label "a.k" : tensor<Tx2x16xf32>
    %12 = slice %4 {begin = 64, end = 128} : tensor<Tx64xf32>
    %13 = reshape %12 : tensor<Tx4x16xf32>
    %14 = slice %1 {begin = 128, end = 192} : tensor<Tx64xf32>
    %15 = slice %1 {begin = 192, end = 196} : tensor<Tx4xf32>
    %16 = slice %1 {begin = 196, end = 200} : tensor<Tx4xf32>
    %17 = sigmoid %15 label "a.beta" : tensor<Tx4xf32>
    %18 = add %16, @a.dt_bias label "a.dt" : tensor<Tx4xf32>
    %19 = softplus %18 label "a.dt" : tensor<Tx4xf32>
    %20 = mul %19, @a.neg_exp_A_log label "a.decay" : tensor<Tx4xf32>
    %21 = delta_rule %8, %11, %13, %20, %17, @a.delta label "a.delta" : tensor<Tx4x16xf32>
    %22 = rms_norm %21, @a.norm {eps = 1e-06} label "a.norm" : tensor<Tx4x16xf32>
    %23 = reshape %22 : tensor<Tx64xf32>
    %24 = silu %14 label "a.z" : tensor<Tx64xf32>
    %25 = mul %23, %24 label "a.gated" : tensor<Tx64xf32>
    %26 = matmul %25, @a.out label "a.out" : tensor<Tx64xf32>
    %27 = add %0, %26 label "a.residual" : tensor<Tx64xf32>
    %28 = matmul %27, @qkv label "qkv" : tensor<Tx64xf32>
    %29 = slice %28 {begin = 0, end = 32} : tensor<Tx32xf32>
    %30 = slice %28 {begin = 32, end = 48} : tensor<Tx16xf32>
    %31 = slice %28 {begin = 48, end = 64} : tensor<Tx16xf32>
    %32 = reshape %29 : tensor<Tx2x16xf32>
    %33 = reshape %30 : tensor<Tx1x16xf32>
    %34 = reshape %31 : tensor<Tx1x16xf32>
    %58 = rope_table @inv_freq, %tokens label "rope" : tensor<Tx16xf32>
    %59 = rope %32, %58 : tensor<Tx2x16xf32>
    %60 = rope %33, %58 : tensor<Tx1x16xf32>
    kv_append @keys, %60
    kv_append @values, %34
    %35 = attention %59, @keys, @values {scale = 0.25} label "attention" : tensor<Tx32xf32>
    %36 = matmul %35, @o label "o" : tensor<Tx64xf32>
    %37 = add %27, %36 label "o.residual" : tensor<Tx64xf32>
    %38 = matmul %37, @b.in label "b.in" : tensor<Tx166xf32>
    %39 = slice %38 {begin = 0, end = 20} : tensor<Tx20xf32>
    %40 = reshape %39 : tensor<Tx1x20xf32>
    %41 = slice %38 {begin = 20, end = 40} : tensor<Tx20xf32>
    %42 = reshape %41 : tensor<Tx1x20xf32>
    %43 = l2_norm %42 {eps = 1e-06} label "b.k" : tensor<Tx1x20xf32>
    %44 = slice %38 {begin = 40, end = 160} : tensor<Tx120xf32>
    %45 = reshape %44 : tensor<Tx3x40xf32>
    %46 = slice %38 {begin = 160, end = 163} : tensor<Tx3xf32>
    %47 = clamp %46 {max = 0.0} label "b.decay" : tensor<Tx3xf32>
    %48 = slice %38 {begin = 163, end = 166} : tensor<Tx3xf32>
    %49 = sigmoid %48 label "b.beta" : tensor<Tx3xf32>
    %50 = delta_rule %40, %43, %45, %47, %49, @b.delta label "b.delta" : tensor<Tx3x40xf32>
    %51 = rms_norm %50, @b.norm {eps = 1e-06} label "b.norm" : tensor<Tx3x40xf32>
    %52 = reshape %51 : tensor<Tx120xf32>
    %53 = matmul %52, @b.out label "b.out" : tensor<Tx64xf32>
    %54 = add %37, %53 label "b.residual" : tensor<Tx64xf32>
    %55 = rms_norm %54, @norm {eps = 1e-05} label "norm" : tensor<Tx64xf32>
    %56 = last_rows %55 : tensor<Lx64xf32>
    %57 = matmul %56, @head label "head" : tensor<Lx48xf32>
    return %57
  }
}
)";

inline models::ImportedModel model_of_text(const char* text, const char* name) {
  models::ImportedModel model;
  auto module = ir::parse(text, name);
  EXPECT_TRUE(module.ok()) << module.status();
  if (module.ok()) model.module = *std::move(module);
  model.architecture = name;
  model.vocab_size = kHybridVocabulary;
  model.layers = 3;
  model.max_positions = 192;
  return model;
}
inline models::ImportedModel hybrid_model() { return model_of_text(kHybrid, "hybrid"); }
inline models::ImportedModel delta_model() { return model_of_text(kDelta, "delta"); }

}  // namespace sinter
