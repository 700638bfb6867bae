#include "storage/import/gz_source.h"

#include <zlib.h>

#include <algorithm>

#include "storage/base/error.h"

namespace gneiss {
namespace {

constexpr std::size_t input_bytes = 256U << 10;
constexpr int gzip_window = 15 + 16;  // zlib's way to say: a gzip header, the largest window

}  // namespace

void GzSource::EndInflate::operator()(z_stream_s* stream) const noexcept {
  inflateEnd(stream);
  delete stream;
}

GzSource::GzSource(const std::filesystem::path& path)
    : ByteSource(path.string()), file_(path), input_(input_bytes) {
  auto stream = std::make_unique<z_stream_s>();
  if (inflateInit2(stream.get(), gzip_window) != Z_OK) fail(Kind::io, "{}: zlib could not start", name());
  stream_.reset(stream.release());
}

bool GzSource::refill() {
  if (stream_->avail_in > 0) return true;
  const std::size_t taken = file_.read(input_);
  stream_->next_in = reinterpret_cast<Bytef*>(input_.data());
  stream_->avail_in = static_cast<uInt>(taken);
  return taken > 0;
}

std::size_t GzSource::read_some(std::span<std::byte> target) {
  const auto room = static_cast<uInt>(std::min<std::size_t>(target.size(), 1U << 30));
  stream_->next_out = reinterpret_cast<Bytef*>(target.data());
  stream_->avail_out = room;
  while (stream_->avail_out == room) {
    const bool more = refill();
    if (!inside_member_) {
      if (!more) return 0;
      inflateReset(stream_.get());
      inside_member_ = true;
    }
    if (!more) {
      fail(Kind::input, "{} is cut off in its compressed data after {} bytes; get the file again", name(),
           file_.position());
    }
    const int status = inflate(stream_.get(), Z_NO_FLUSH);
    if (status == Z_STREAM_END) {
      inside_member_ = false;
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      fail(Kind::input, "{} is damaged in its compressed data near byte {} ({}); get the file again", name(),
           file_.position() - stream_->avail_in, stream_->msg != nullptr ? stream_->msg : "zlib refuses it");
    }
  }
  return room - stream_->avail_out;
}

std::unique_ptr<ByteSource> open_maybe_gz(const std::filesystem::path& path_without_gz) {
  const std::filesystem::path compressed = path_without_gz.string() + ".gz";
  if (!std::filesystem::exists(compressed) && std::filesystem::exists(path_without_gz)) {
    return std::make_unique<FileSource>(path_without_gz);
  }
  return std::make_unique<GzSource>(compressed);
}

bool exists_maybe_gz(const std::filesystem::path& path_without_gz) {
  return std::filesystem::exists(path_without_gz.string() + ".gz") ||
         std::filesystem::exists(path_without_gz);
}

}  // namespace gneiss
