#include "tools/safetensors_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace sinter::tools {

using runtime::Done;
using runtime::Status;

SafetensorsWriter::SafetensorsWriter(const OutputFolder& folder, std::vector<TensorInfo> tensors,
                                     uint64_t max_file_bytes)
    : folder_(folder), tensors_(std::move(tensors)) {
  uint64_t in_file = 0;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (i == 0 || in_file + tensors_[i].bytes > max_file_bytes) {
      first_of_file_.push_back(i);
      in_file = 0;
    }
    in_file += tensors_[i].bytes;
    total_bytes_ += tensors_[i].bytes;
  }
}

std::string SafetensorsWriter::file_name(size_t file) const {
  if (files() == 1) return "model.safetensors";
  return fmt::format("model-{:05}-of-{:05}.safetensors", file + 1, files());
}

Status SafetensorsWriter::open_file(size_t file) {
  const size_t end = file + 1 < files() ? first_of_file_[file + 1] : tensors_.size();
  nlohmann::ordered_json header;
  header["__metadata__"]["format"] = "mlx";
  left_in_file_ = 0;
  for (size_t i = first_of_file_[file]; i < end; ++i) {
    const TensorInfo& tensor = tensors_[i];
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {left_in_file_, left_in_file_ + tensor.bytes}}};
    left_in_file_ += tensor.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // tensors begin at multiples of 8
  std::string head;
  for (int i = 0; i < 8; ++i) head += static_cast<char>(text.size() >> (8 * i) & 0xFF);
  auto out = folder_.file(file_name(file));
  if (!out.ok()) return out.error();
  out_.emplace(std::move(*out));
  return out_->append(head + text);
}

Status SafetensorsWriter::append(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    if (left_in_file_ == 0) {
      if (out_.has_value())
        if (Status status = out_->finish(); !status.ok()) return status;
      if (Status status = open_file(next_file_++); !status.ok()) return status;
    }
    const auto now = bytes.first(std::min<uint64_t>(bytes.size(), left_in_file_));
    if (Status status = out_->append(now); !status.ok()) return status;
    left_in_file_ -= now.size();
    bytes = bytes.subspan(now.size());
  }
  return Done{};
}

Status SafetensorsWriter::finish() {
  if (out_.has_value())
    if (Status status = out_->finish(); !status.ok()) return status;
  if (files() < 2) return Done{};
  nlohmann::ordered_json index;
  index["metadata"]["total_size"] = total_bytes_;
  std::map<std::string, std::string> weight_map;
  for (size_t file = 0; file < files(); ++file) {
    const size_t end = file + 1 < files() ? first_of_file_[file + 1] : tensors_.size();
    for (size_t i = first_of_file_[file]; i < end; ++i)
      weight_map[tensors_[i].name] = file_name(file);
  }
  index["weight_map"] = weight_map;
  return folder_.write("model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace sinter::tools
