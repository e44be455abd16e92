#include "daemon/messages/compile.h"

#include <array>

#include "daemon/messages/json_schema.h"
#include "daemon/messages/protobuf_schema.h"
#include "proto/lz4.h"

namespace tusk::messages {
namespace {

using config::MessageFormat;
using core::Refusal;

struct Written {
  uint32_t codec;
  const char* name;
};
// By codec, too.
constexpr std::array<Written, 3> kWritten = {
    {{0, "msgpack (codec 0)"}, {1, "JSON (codec 1)"}, {2, "plain bytes (codec 2)"}}};

class Checker final : public core::BodyChecker {
 public:
  Checker(MessageFormat format, std::unique_ptr<const Schema> schema)
      : codec_(core::codec_of(format)), schema_(std::move(schema)) {}

  std::optional<Refusal> check(std::string_view body, uint32_t codec,
                               proto::Compression compression, size_t limit) const override {
    // What a library throws about hostile bytes, and memory that there is not, end here.
    try {
      if (codec != codec_) {
        const char* found = codec < kWritten.size() ? kWritten[codec].name : "an unknown codec";
        return Refusal{
            "", std::string("is written in ") + found + "; expected " + kWritten[codec_].name};
      }
      if (compression == proto::Compression::kNone) return schema_->check(body);
      const auto whole = proto::lz4_decompress(body, limit);
      if (!whole) return Refusal{"", "does not decompress, or to more than the limit"};
      return schema_->check(*whole);
    } catch (const std::exception& error) {
      return Refusal{"", std::string("cannot be checked: ") + error.what()};
    }
  }

 private:
  const uint32_t codec_;
  const std::unique_ptr<const Schema> schema_;
};

Compiled<std::unique_ptr<Schema>> compile(const config::MessageType& entry) {
  switch (*entry.format) {
    case MessageFormat::json:
      return json_schema(*entry.schema, JsonForm::kJson);
    case MessageFormat::msgpack:
      return json_schema(*entry.schema, JsonForm::kMsgpack);
    case MessageFormat::protobuf:
      return protobuf_schema(*entry.schema, entry.message);
  }
  return tl::unexpected(Fault{"of no format"});
}

config::Error error_of(const std::string& name, const config::Message& message, Fault fault) {
  config::Error error = fault.names_message ? message.message_at : message.schema_at;
  error.message = "[message_types] " + name + (fault.names_message ? ".message: " : ".schema: ");
  const std::string place =
      fault.line > 0 ? std::to_string(fault.line) + ":" + std::to_string(fault.column) : "";
  if (!fault.names_message && !message.schema_file.empty()) {
    error.message += message.schema_file + ":" + (place.empty() ? "" : place + ":") + " ";
  } else if (!place.empty()) {
    error.message += "in its line and column " + place + ": ";
  }
  error.message += fault.why;
  return error;
}

}  // namespace

config::Result<core::BodyCheckers> compile(const config::Orchestration& config) {
  core::BodyCheckers out;
  std::vector<config::Error> errors;
  for (const auto& [name, message] : config.messages) {
    const config::MessageType& entry = message.entry;
    if (!entry.schema || !entry.format) continue;
    auto schema = compile(entry);
    if (!schema) {
      errors.push_back(error_of(name, message, std::move(schema.error())));
    } else if (entry.validation) {
      out.emplace(name, std::make_shared<Checker>(*entry.format, std::move(*schema)));
    }
  }
  if (!errors.empty()) return tl::unexpected(std::move(errors));
  return out;
}

}  // namespace tusk::messages
