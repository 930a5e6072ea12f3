// tokenizer.model to SentencePieceModel and back: a protocol buffer.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "runtime/text/tokenizer/sentencepiece.h"

namespace sinter::runtime::tokenizer {
namespace {

// Field numbers of sentencepiece_model.proto.
namespace model_proto {
enum : uint64_t { kPieces = 1, kTrainer = 2, kNormalizer = 3, kDenormalizer = 5 };
}
namespace piece_proto {
enum : uint64_t { kText = 1, kScore = 2, kType = 3 };
}
namespace trainer_proto {
enum : uint64_t {
  kModelType = 3,
  kWhitespaceAsSuffix = 24,
  kByteFallback = 35,
  kBosId = 41,
  kEosId = 42,
  kUnknownSurface = 44,
  kUnknownPiece = 45,
  kBosPiece = 46,
  kEosPiece = 47
};
}
namespace normalizer_proto {
enum : uint64_t { kCharsmap = 2, kDummyPrefix = 3, kRemoveExtra = 4, kEscape = 5 };
}

enum class Wire : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  uint64_t number = 0;
  Wire wire = Wire::kVarint;
  uint64_t value = 0;      // kVarint, kFixed32, kFixed64
  std::string_view bytes;  // kBytes
};

// Reads the fields of a message one by one; stops with an error at the first that is damaged.
class MessageReader {
 public:
  explicit MessageReader(std::string_view bytes) : rest_(bytes) {}

  bool next(Field* field) {
    if (rest_.empty() || failed_) return false;
    uint64_t key = 0;
    if (!varint(&key)) return fail();
    field->number = key >> 3;
    field->wire = static_cast<Wire>(key & 7);
    switch (field->wire) {
      case Wire::kVarint:
        return varint(&field->value) || fail();
      case Wire::kFixed32:
        return fixed(4, &field->value) || fail();
      case Wire::kFixed64:
        return fixed(8, &field->value) || fail();
      case Wire::kBytes: {
        uint64_t size = 0;
        if (!varint(&size) || size > rest_.size()) return fail();
        field->bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return true;
      }
    }
    return fail();
  }
  bool failed() const { return failed_; }

 private:
  bool fail() {
    failed_ = true;
    return false;
  }
  bool varint(uint64_t* value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      *value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool fixed(size_t size, uint64_t* value) {
    if (rest_.size() < size) return false;
    *value = 0;
    for (size_t i = 0; i < size; ++i) *value |= uint64_t{static_cast<uint8_t>(rest_[i])} << (8 * i);
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_;
  bool failed_ = false;
};

// More than any model has; bounds the memory that small pieces take.
constexpr size_t kMaxPieces = 1 << 21;

Error damaged(std::string_view what) {
  return Error{fmt::format("{} is damaged or not of a SentencePiece model", what)};
}

Result<SentencePieceModel::Piece> parse_piece(std::string_view bytes, size_t id) {
  SentencePieceModel::Piece piece;
  MessageReader reader(bytes);
  for (Field field; reader.next(&field);) {
    if (field.number == piece_proto::kText && field.wire == Wire::kBytes) {
      piece.text = field.bytes;
    } else if (field.number == piece_proto::kScore && field.wire == Wire::kFixed32) {
      piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    } else if (field.number == piece_proto::kType && field.wire == Wire::kVarint) {
      if (field.value < 1 || field.value > 6)
        return Error{fmt::format("piece {} has type {}, which is not known", id, field.value)};
      piece.type = static_cast<SentencePieceModel::PieceType>(field.value);
    }
  }
  if (reader.failed()) return damaged(fmt::format("piece {}", id));
  return piece;
}

Status parse_trainer(std::string_view bytes, SentencePieceModel* model) {
  MessageReader reader(bytes);
  for (Field field; reader.next(&field);) {
    if (field.wire == Wire::kBytes) {
      if (field.number == trainer_proto::kUnknownSurface) model->unknown_surface = field.bytes;
      continue;
    }
    switch (field.number) {
      case trainer_proto::kModelType:
        if (field.value != 1 && field.value != 2) {
          return Error{fmt::format(
              "the model is of kind {}, which is not supported; supported are unigram and BPE",
              field.value == 3   ? "word"
              : field.value == 4 ? "char"
                                 : std::to_string(field.value))};
        }
        model->algorithm = static_cast<SentencePieceModel::Algorithm>(field.value);
        break;
      case trainer_proto::kWhitespaceAsSuffix:
        if (field.value != 0)
          return Error{"the option treat_whitespace_as_suffix is set, which is not supported"};
        break;
      case trainer_proto::kByteFallback:
        model->byte_fallback = field.value != 0;
        break;
      case trainer_proto::kBosId:
        model->bos_id = static_cast<int32_t>(field.value);
        break;
      case trainer_proto::kEosId:
        model->eos_id = static_cast<int32_t>(field.value);
        break;
      default:  // how the model was trained
        break;
    }
  }
  if (reader.failed()) return damaged("the trainer's part");
  return Done{};
}

Status parse_normalizer(std::string_view bytes, SentencePieceModel* model) {
  MessageReader reader(bytes);
  for (Field field; reader.next(&field);) {
    if (field.number == normalizer_proto::kCharsmap && field.wire == Wire::kBytes)
      model->charsmap = field.bytes;
    if (field.wire != Wire::kVarint) continue;
    if (field.number == normalizer_proto::kDummyPrefix) model->add_dummy_prefix = field.value != 0;
    if (field.number == normalizer_proto::kRemoveExtra)
      model->remove_extra_whitespaces = field.value != 0;
    if (field.number == normalizer_proto::kEscape) model->escape_whitespaces = field.value != 0;
  }
  if (reader.failed()) return damaged("the normalizer's part");
  return Done{};
}

class MessageWriter {
 public:
  MessageWriter& number(uint64_t field, uint64_t value) {
    varint(field << 3);
    varint(value);
    return *this;
  }
  MessageWriter& real(uint64_t field, float value) {
    varint(field << 3 | static_cast<uint64_t>(Wire::kFixed32));
    const auto bits = std::bit_cast<uint32_t>(value);
    for (unsigned i = 0; i < 4; ++i) bytes_.push_back(static_cast<char>(bits >> (8 * i)));
    return *this;
  }
  MessageWriter& text(uint64_t field, std::string_view value) {
    varint(field << 3 | static_cast<uint64_t>(Wire::kBytes));
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  std::string bytes_;
};

}  // namespace

Result<SentencePieceModel> SentencePieceModel::parse(std::string_view bytes) {
  SentencePieceModel model;
  MessageReader reader(bytes);
  for (Field field; reader.next(&field);) {
    if (field.wire != Wire::kBytes) continue;
    Status status = Done{};
    if (field.number == model_proto::kPieces) {
      if (model.pieces.size() == kMaxPieces)
        return Error{fmt::format("it has more than {} pieces", kMaxPieces)};
      auto piece = parse_piece(field.bytes, model.pieces.size());
      if (!piece.ok()) return piece.error();
      model.pieces.push_back(*std::move(piece));
    } else if (field.number == model_proto::kTrainer) {
      status = parse_trainer(field.bytes, &model);
    } else if (field.number == model_proto::kNormalizer) {
      status = parse_normalizer(field.bytes, &model);
    } else if (field.number == model_proto::kDenormalizer) {
      SentencePieceModel denormalizer;
      status = parse_normalizer(field.bytes, &denormalizer);
      if (status.ok() && !denormalizer.charsmap.empty())
        status = Error{"it has a denormalization table, which is not supported"};
    }
    if (!status.ok()) return status.error();
  }
  if (reader.failed() || model.pieces.empty()) return damaged("the file");
  return model;
}

std::string SentencePieceModel::serialize() const {
  MessageWriter model;
  for (const Piece& piece : pieces) {
    MessageWriter writer;
    writer.text(piece_proto::kText, piece.text).real(piece_proto::kScore, piece.score);
    writer.number(piece_proto::kType, static_cast<uint64_t>(piece.type));
    model.text(model_proto::kPieces, writer.bytes());
  }
  MessageWriter trainer;
  trainer.number(trainer_proto::kModelType, static_cast<uint64_t>(algorithm))
      .number(trainer_proto::kByteFallback, byte_fallback ? 1 : 0)
      .number(trainer_proto::kBosId, static_cast<uint64_t>(int64_t{bos_id}))
      .number(trainer_proto::kEosId, static_cast<uint64_t>(int64_t{eos_id}))
      .text(trainer_proto::kUnknownSurface, unknown_surface);
  // The library finds these by their text.
  const auto name = [&](uint64_t field, int64_t id) {
    if (id >= 0 && static_cast<size_t>(id) < pieces.size())
      trainer.text(field, pieces[static_cast<size_t>(id)].text);
  };
  const auto unknown = std::find_if(pieces.begin(), pieces.end(), [](const Piece& piece) {
    return piece.type == PieceType::kUnknown;
  });
  if (unknown != pieces.end()) name(trainer_proto::kUnknownPiece, unknown - pieces.begin());
  name(trainer_proto::kBosPiece, bos_id);
  name(trainer_proto::kEosPiece, eos_id);
  MessageWriter normalizer;
  normalizer.text(normalizer_proto::kCharsmap, charsmap)
      .number(normalizer_proto::kDummyPrefix, add_dummy_prefix ? 1 : 0)
      .number(normalizer_proto::kRemoveExtra, remove_extra_whitespaces ? 1 : 0)
      .number(normalizer_proto::kEscape, escape_whitespaces ? 1 : 0);
  model.text(model_proto::kTrainer, trainer.bytes());
  model.text(model_proto::kNormalizer, normalizer.bytes());
  return model.bytes();
}

}  // namespace sinter::runtime::tokenizer
