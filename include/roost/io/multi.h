// Several sources or several sinks as one. (Several pieces of memory are net::Buffers.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <roost/error.h>
#include <roost/io/stream.h>

namespace roost::io {

// One source after the other. Each is read until its end; its end is not seen, only that of the last. An error stays with
// the source that reported it: the next read asks the same one again.
class MultiSource final : public Source {
 public:
  // All are borrowed and must outlive this. None may be null.
  explicit MultiSource(std::vector<Source*> sources);

  // As the source's whose turn it is.
  Result<std::size_t> read(std::span<std::byte> out) override;
  Result<void> wait_readable() override;
  [[nodiscard]] bool maybe_readable() const noexcept override;
  // Copies each by the quickest way there is for it.
  Result<std::optional<std::uint64_t>> write_to(Sink& to, std::uint64_t count) override;

 private:
  const std::vector<Source*> sources_;
  std::size_t current_ = 0;
};

// What is written goes to every sink, in their order. The first that fails ends the write; those behind it get nothing.
class MultiSink final : public Sink {
 public:
  // All are borrowed and must outlive this. None may be null.
  explicit MultiSink(std::vector<Sink*> sinks);

  using Sink::write;
  // Parks as each sink does.
  // Errors: what a sink reports; Errc::short_write.
  Result<std::size_t> write(std::span<const std::byte> data) override;
  Result<std::size_t> write_vectored(std::span<const std::span<const std::byte>> pieces) override;

 private:
  const std::vector<Sink*> sinks_;
};

}  // namespace roost::io
