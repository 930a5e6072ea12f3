#include "models/blocks/mtp.h"

#include "frontends/error_text.h"
#include "models/blocks/decoder.h"

namespace sinter::models {

using ir::Op;
using ir::ValueId;

namespace {

ValueId last_rows(Importer& m, ValueId h) {
  if (!m.ok()) return -1;
  m.graph().set_label("lm_head");
  return m.graph().add(Op::last_rows, {h});
}

// Files that were put together of two may have norms less 1 in the head and not in the model.
Norm norm_of_head(Importer& m, const Decoder& d, const Mtp& mtp) {
  Norm norm = d.norm;
  if (m.ok() && norm.kind == Norm::Kind::rms && m.is_stored(mtp.hidden_norm))
    norm.less_one |= m.mean(mtp.hidden_norm) < 0.02 && m.mean(mtp.token_norm) < 0.02;
  return norm;
}

}  // namespace

absl::StatusOr<ir::Module> build_with_mtp(Importer& m, const Decoder& d, ValueId h) {
  const Mtp& mtp = *d.mtp;
  if (m.ok() && !m.has(mtp.projection))
    m.fail(frontends::invalid(
        "{}: the model has no multi-token-prediction head: there is no tensor {}; compile without "
        "--mtp",
        m.config().file(), frontends::in_quotes(mtp.projection)));
  const ValueId logits = head_logits(m, d, last_rows(m, h));
  const ValueId hidden = apply(m, d.norm, h, "model.norm", d.hidden);
  if (!m.ok()) return m.finish(-1);
  m.begin_entry({logits, hidden}, "mtp");

  Decoder of_head = d;
  of_head.norm = norm_of_head(m, d, mtp);
  Layer layer = d.layers[mtp.like];
  if (mtp.plain_attention) layer.mixer = nullptr;
  layer.attention.qk_norm.less_one = of_head.norm.less_one;
  if (!layer.mixer && layer.attention.rope) m.angles(*layer.attention.rope);
  const ValueId state = m.hidden(d.hidden);
  const ValueId token = token_embedding(
      m, d, m.is_stored(mtp.embedding) ? mtp.embedding : std::string("model.embed_tokens"));
  // fc [token | state] is the sum of products with the two halves of its columns.
  const auto projected = [&](ValueId x, const std::string& norm, int64_t half) {
    return m.linear_with_columns(apply(m, of_head.norm, x, norm, d.hidden), mtp.projection,
                                 d.hidden, d.hidden, half, 2);
  };
  const ValueId of_token = projected(token, mtp.token_norm, 0);
  const ValueId of_state = projected(state, mtp.hidden_norm, 1);
  if (!m.ok()) return m.finish(-1);
  const ValueId x =
      build_layer(m, of_head, layer, mtp.layer, m.graph().add(Op::add, {of_token, of_state}));
  HeadNames names{.norm = mtp.norm};
  if (m.is_stored(mtp.head)) names.matrix = mtp.head;
  const ValueId drafted = head_logits(m, of_head, last_rows(m, x), names);
  const ValueId next = apply(m, of_head.norm, x, mtp.norm, d.hidden);
  return m.finish({drafted, next});
}

}  // namespace sinter::models
