// A module with every op, every weight format and fused bodies, as the printer writes it.
#pragma once

namespace sinter::ir {

inline constexpr const char* kEveryOp = R"(module @every.op {
  weight @embed_tokens : weight<16x8, affine b4 g4 bf16> = source("model.embed_tokens")
  weight @norm : weight<8, f16> = source("model.norm")
  weight @q : weight<8x8, symmetric b1 z0.5 g4 f16> = source("a.q_proj")
  weight @experts : weight<4x5x8, fp4 g8 e8m0> = source("experts")
  weight @kv : weight<8x8, ternary b2 g8 f32> = source("a.k_proj", "a.v_proj")
  weight @rope.inv_freq : weight<1, f32> = constant(0.01)
  weight @conv : weight<8x3, bf16> = source("conv")
  weight @"an odd name" : weight<16x8, bf16> = source("quote \" backslash \\ line \n tab \t bell \x07")
  weight @sinks : weight<4, bf16> = source("a.sinks")
  state @layers.0.k : state<2xCx2, paged f16>
  state @layers.0.v : state<2xCx2, paged f16>
  state @layers.0.conv : state<2x8, fixed f32>
  state @layers.0.delta : state<4x2x2, fixed f32>
  func @forward(%tokens: tensor<Txi32>) {
    %0 = embed %tokens, @embed_tokens : tensor<Tx8xf32>
    %1 = rope_table @rope.inv_freq, %tokens {scale = 1.5} label "rope" : tensor<Tx2xf32>
    %2 = rms_norm %0, @norm {eps = 1e-06} label "layers.0.norm" : tensor<Tx8xf32>
    %3 = dequantize @q : tensor<8x8xf32>
    %4 = matmul %2, %3 : tensor<Tx8xf32>
    %6, %7 = fused {kind = "matmul"} label "layers.0.kv" {
      %5 = matmul %2, @kv label "layers.0.kv" : tensor<Tx8xf32>
      %6 = slice %5 {begin = 0, end = 4} : tensor<Tx4xf32>
      %7 = slice %5 {begin = 4, end = 8} : tensor<Tx4xf32>
    } : tensor<Tx4xf32>, tensor<Tx4xf32>
    %8 = reshape %6 : tensor<Tx2x2xf32>
    %9 = reshape %7 : tensor<Tx2x2xf32>
    %10 = reshape %4 : tensor<Tx4x2xf32>
    %11 = rope %8, %1 {style = "interleaved"} : tensor<Tx2x2xf32>
    %12 = rope %10, %1 : tensor<Tx4x2xf32>
    fused {kind = "rows"} {
      kv_append @layers.0.k, %11
      kv_append @layers.0.v, %9 label "v"
    }
    %13 = attention %12, @layers.0.k, @layers.0.v {scale = 0.5} : tensor<Tx8xf32>
    %14 = add %0, %13 : tensor<Tx8xf32>
    %15 = silu %14 : tensor<Tx8xf32>
    %16 = gelu %15 : tensor<Tx8xf32>
    %17 = relu2 %16 : tensor<Tx8xf32>
    %18 = sigmoid %17 : tensor<Tx8xf32>
    %19 = mul %17, %18 : tensor<Tx8xf32>
    %20 = add %19, @norm : tensor<Tx8xf32>
    %21 = last_rows %20 : tensor<Lx8xf32>
    %22 = top_k %14 {k = 3} : tensor<Tx3xi32>
    %23 = gather_matmul %14, %22, @experts : tensor<Tx3x5xf32>
    %24 = gelu_erf %14 : tensor<Tx8xf32>
    %25 = matmul %21, @"an odd name" : tensor<Lx16xf32>
    %26 = tanh %14 : tensor<Tx8xf32>
    %27 = exp %14 : tensor<Tx8xf32>
    %28 = softplus %14 : tensor<Tx8xf32>
    %29 = clamp %14 {max = 7.0} : tensor<Tx8xf32>
    %30 = layer_norm %14, @norm {eps = 1e-05} : tensor<Tx8xf32>
    %31 = layer_norm %14, @norm, @norm {eps = 1e-05} : tensor<Tx8xf32>
    %32 = l2_norm %12 {eps = 1e-06} : tensor<Tx4x2xf32>
    %33 = softmax %14 : tensor<Tx8xf32>
    %34 = gather %33, %22 : tensor<Tx3xf32>
    %35 = sum_norm %34 {eps = 1e-20} : tensor<Tx3xf32>
    %36 = weighted_sum %23, %35 : tensor<Tx5xf32>
    %37 = short_conv %14, @conv, @layers.0.conv label "layers.0.conv" : tensor<Tx8xf32>
    %38 = affine %14 {scale = 0.5} : tensor<Tx8xf32>
    %39 = slice %14 {begin = 0, end = 1} : tensor<Tx1xf32>
    %40 = expand %39 {width = 8} : tensor<Tx8xf32>
    %41 = attention %12, @layers.0.k, @layers.0.v, @sinks {chunk = 64, scale = 0.5, softcap = 30.0} : tensor<Tx8xf32>
    %42 = slice %14 {begin = 0, end = 4} : tensor<Tx4xf32>
    %43 = delta_rule %9, %8, %32, %42, %42, @layers.0.delta label "layers.0.delta" : tensor<Tx4x2xf32>
    %44 = gather_rows %22, @norm {width = 2} : tensor<Tx3x2xf32>
    %45 = rope %10, %1 {begin = 0, style = "half"} : tensor<Tx4x2xf32>
    %46 = rms_norm %14 {eps = 1e-05} : tensor<Tx8xf32>
    %47 = rope_table @rope.inv_freq, %tokens {log_offset = 1, log_period = 8192, log_scale = 0.1} : tensor<Tx2xf32>
    %48 = rotate %14, @norm {block = 4} : tensor<Tx8xf32>
    %49 = rotate %12 {block = 2, inverse = true} : tensor<Tx4x2xf32>
    %50 = concat %8, %11 : tensor<Tx2x4xf32>
    %51 = top_k %14 {group_best = 2, groups = 4, groups_kept = 2, k = 3} : tensor<Tx3xi32>
    %52 = selective_scan %10, @sinks, %9, %8, @layers.0.delta : tensor<Tx4x2xf32>
    %53 = selective_scan %10, @norm, %9, %8, @layers.0.delta, %42, @sinks label "layers.0.scan" : tensor<Tx4x2xf32>
    %54 = gather @sinks, %22 : tensor<Tx3xf32>
    %55 = sparsemixer %14, %22 {margin = 0.02} : tensor<Tx3xf32>
    %56 = div %14, %15 : tensor<Tx8xf32>
    %57 = sqrt %17 : tensor<Tx8xf32>
    %58 = mean %12 : tensor<Tx4x2xf32>
    %59 = embed %tokens, @embed_tokens {first_beyond = true} : tensor<Tx8xf32>
    return %25
  }
}
)";

}  // namespace sinter::ir
