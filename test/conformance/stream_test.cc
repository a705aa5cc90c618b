// Streams of bytes: whole and vectored writes, copying inside the kernel.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>

#include <roost/net/buffers.h>

#include "conformance/conn_suite.h"
#include "net/splice.h"

namespace {
std::atomic<std::size_t> vectored_calls{0};
}
// Stands before the C library's in the whole program, so that a test can tell how many calls a list of buffers took.
extern "C" ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  vectored_calls.fetch_add(1, std::memory_order_relaxed);
  return ::syscall(SYS_sendmsg, fd, message, flags);
}

namespace roost::test {
namespace {

ROOST_SUITE(Streams);

std::array<std::byte, 64> room;

// RW-01
ROOST_CASE(Streams, AnEmptyReadIsNeitherAWaitNorTheEnd) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    EXPECT_EQ(client.read(std::span<std::byte>()).value_or(9), 0u);
    EXPECT_EQ(server.read(std::span<std::byte>()).value_or(9), 0u);
    // Nor does it take anything.
    ASSERT_OK(server.write("x"));
    ASSERT_OK(client.wait_readable());
    EXPECT_EQ(client.read(std::span<std::byte>()).value_or(9), 0u);
    EXPECT_EQ(client.read(room).value_or(9), 1u);
  }
}

// RW-02 and RW-03 on sockets that keep message boundaries.
ROOST_CASE(Streams, MessagesMoveAMebibyteAndPlayPingPong) {
  conn_suite::plays_ping_pong([] { return streams(unixpacket_pair()); });
  conn_suite::moves_a_mebibyte([] { return streams(unixpacket_pair()); });
}

// RW-04
ROOST_CASE(Streams, TwoConnectionsEchoTenThousandTimes) {
  const auto play = [] {
    auto [client, server] = tcp_pair();
    auto echoing = go([&conn = server] { echo(conn); });
    std::array<std::byte, 512> message;
    for (int i = 0; i < 10'000; ++i) {
      message.fill(static_cast<std::byte>(i));
      if (!client.write(message)) return false;
      if (read_exactly(client, message.size()) != std::string(message.size(), static_cast<char>(i))) return false;
    }
    static_cast<void>(client.close());
    echoing.join();
    return true;
  };
  auto first = go(play);
  auto second = go(play);
  EXPECT_TRUE(first.join());
  EXPECT_TRUE(second.join());
}

// RW-08
ROOST_CASE(Streams, APipeIsCopiedIntoAConnection) {
  auto [client, server] = tcp_pair();
  auto pipe = must(net::os_pipe());
  auto copying = go([&conn = client, &from = pipe.read_end] {
    const auto copied = io::copy(conn, from);
    static_cast<void>(conn.close());
    return copied;
  });
  ASSERT_OK(pipe.write_end.write("a"));
  EXPECT_EQ(read_exactly(server, 1).value_or("?"), "a");
  ASSERT_TRUE(reading());  // the copy waits for the pipe
  ASSERT_OK(pipe.write_end.write("b"));
  EXPECT_EQ(read_exactly(server, 1).value_or("?"), "b");
  ASSERT_OK(pipe.write_end.close());
  EXPECT_EQ(server.read(room).value_or(9), 0u);
  EXPECT_EQ(copying.join().value_or(0), 2u);
}

// A TCP read stops at urgent data: the short read there must not be taken for an empty socket.
ROOST_CASE(Streams, BytesBehindUrgentDataAreRead) {
  for (int i = 0; i < 20; ++i) {
    auto [client, server] = tcp_pair();
    must(client.raw_control([](int fd) {
      ASSERT_EQ(::send(fd, "abc", 3, 0), 3);
      ASSERT_EQ(::send(fd, "!", 1, MSG_OOB), 1);
      ASSERT_EQ(::send(fd, "def", 3, 0), 3);
    }));
    if (i % 2 == 1) {
      ASSERT_OK(sleep_for(1ms));
    }
    ASSERT_OK(server.set_read_deadline(Deadline::after(5s)));
    EXPECT_EQ(read_exactly(server, 6).value_or("?"), "abcdef");
  }
}

// --- vectored ------------------------------------------------------------------------------------------------------

// WV-01
ROOST_CASE(Streams, AListOfBuffersIsWrittenInOrder) {
  for (const std::size_t count : {0u, 1u, 10u, 63u, 64u, 65u, 1023u, 1024u, 1025u, 3000u}) {
    auto [client, server] = tcp_pair();
    std::vector<std::byte> bytes(count);
    net::Buffers list;
    for (std::size_t i = 0; i < count; ++i) {
      bytes[i] = static_cast<std::byte>(i * 7);
      list.add(std::span<const std::byte>(bytes).subspan(i, 1));
      if (i % 5 == 0) list.add(std::string_view());  // empty ones do no harm
    }
    EXPECT_EQ(list.bytes(), count);
    // One call takes 1024 pieces (UIO_MAXIOV), empty ones among them. So few bytes never wait for room.
    const auto calls_for = [](std::size_t pieces) { return (pieces + 1023) / 1024; };
    const std::size_t calls_max = calls_for(list.pieces());
    const std::size_t calls_before = vectored_calls.load();
    auto writing_fiber = go([&conn = client, &list] {
      const auto copied = io::copy(conn, list);
      static_cast<void>(conn.close());
      return copied;
    });
    std::vector<std::byte> got;
    std::array<std::byte, 512> part;
    for (auto read = server.read(part); read && *read > 0; read = server.read(part)) {
      got.insert(got.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(*read));
    }
    EXPECT_EQ(writing_fiber.join().value_or(~0ull), count);
    const std::size_t calls = vectored_calls.load() - calls_before;
    EXPECT_LE(calls, calls_max) << count << " buffers";
    if (count > 1) {  // one alone goes by a plain send
      EXPECT_GE(calls, calls_for(count)) << count << " buffers: the calls are not those that are counted";
    }
    EXPECT_TRUE(list.empty());
    EXPECT_TRUE(got == bytes);
  }
}

// WV-01: no more calls than pieces / 1024 ask for, seen by the messages of a seqpacket socket: one call, one message.
ROOST_CASE(Streams, AVectoredWriteIsOneMessage) {
  auto [client, server] = unixpacket_pair();
  const std::vector<std::byte> bytes(1025, std::byte{3});
  std::vector<std::span<const std::byte>> pieces;
  for (std::size_t i = 0; i < 1024; ++i) pieces.push_back(std::span(bytes).subspan(i, 1));
  EXPECT_EQ(client.write_vectored(pieces).value_or(0), 1024u);
  std::array<std::byte, 4096> out;
  EXPECT_EQ(server.read(out).value_or(0), 1024u);
  pieces.push_back(std::span(bytes).subspan(1024, 1));
  EXPECT_ERROR(client.write_vectored(pieces), std::errc::message_size);
}

// A list that is larger than what the socket takes at once.
ROOST_CASE(Streams, AVectoredWriteGoesOnWhereItStopped) {
  auto [client, server] = tcp_pair();
  std::mt19937 random(7);
  std::vector<std::vector<std::byte>> pieces(300);
  std::vector<std::byte> all;
  std::vector<std::span<const std::byte>> list;
  for (auto& piece : pieces) {
    piece.resize(random() % 40'000);
    for (auto& byte : piece) byte = static_cast<std::byte>(random());
    all.insert(all.end(), piece.begin(), piece.end());
    list.emplace_back(piece);
  }
  auto writing_fiber = go([&conn = client, &list] { return conn.write_vectored(list); });
  const auto got = read_exactly(server, all.size());
  ASSERT_OK(got);
  EXPECT_EQ(std::memcmp(got->data(), all.data(), all.size()), 0);
  EXPECT_EQ(writing_fiber.join().value_or(0), all.size());
}

// WV-04
ROOST_CASE(Streams, AListOfBuffersCanBeRead) {
  net::Buffers list;
  for (const std::string_view text : {"north", "", "east", "south", "west"}) list.add(text);
  std::string all;
  std::array<std::byte, 3> part;
  for (auto got = list.read(part); got && *got > 0; got = list.read(part)) {
    all.append(reinterpret_cast<const char*>(part.data()), *got);
  }
  EXPECT_EQ(all, "northeastsouthwest");
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.read(part).value_or(9), 0u);
}

// A part of a list, cut within a piece.
ROOST_CASE(Streams, APartOfAListIsWrittenAndTheRestKept) {
  auto [client, server] = tcp_pair();
  net::Buffers list;
  list.add("0123");
  list.add("4567");
  EXPECT_EQ(io::copy_n(client, list, 6).value_or(0), 6u);
  EXPECT_EQ(read_exactly(server, 6).value_or(""), "012345");
  EXPECT_EQ(list.bytes(), 2u);
  EXPECT_EQ(io::copy(client, list).value_or(0), 2u);
  EXPECT_EQ(read_exactly(server, 2).value_or(""), "67");
}

ROOST_CASE(Streams, AVectoredReadFillsPieceAfterPiece) {
  auto [client, server] = tcp_pair();
  ASSERT_OK(server.write("headbody!"));
  std::array<std::byte, 4> head;
  std::array<std::byte, 8> body;
  const std::array<std::span<std::byte>, 2> pieces{head, body};
  EXPECT_EQ(client.read_vectored(pieces).value_or(0), 9u);
  EXPECT_EQ(std::memcmp(head.data(), "head", 4), 0);
  EXPECT_EQ(std::memcmp(body.data(), "body!", 5), 0);
  // The next one waits: the short read has told that the socket is empty.
  ASSERT_OK(client.set_read_deadline(Deadline::after(5ms)));
  EXPECT_TRUE(timed_out(client.read_vectored(pieces)));
}

// Writes of several fibers are whole: none comes into the middle of another.
ROOST_CASE(Streams, WritesOfSeveralFibersDoNotMix) {
  auto [client, server] = tcp_pair();
  constexpr std::size_t bytes = 200'000;
  std::vector<Handle<bool>> writers;
  for (char letter : {'a', 'b', 'c'}) {
    writers.push_back(go([&conn = client, letter] { return conn.write(std::string(bytes, letter)).has_value(); }));
  }
  for (int i = 0; i < 3; ++i) {
    const auto run = read_exactly(server, bytes);
    ASSERT_OK(run);
    EXPECT_EQ(*run, std::string(bytes, run->front()));
  }
  for (auto& writer : writers) EXPECT_TRUE(writer.join());
}

// --- inside the kernel ---------------------------------------------------------------------------------------------

// Descriptors of pipes in this process. (Others come and go: a worker that is added has a poller.)
std::size_t open_pipe_ends() {
  std::size_t count = 0;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    count += std::filesystem::read_symlink(entry, gone).string().starts_with("pipe:");
  }
  return count;
}

// SP-01
ROOST_CASE(Streams, ConnectionsAreSplicedIntoEachOther) {
  for (const auto& [bytes, piece_bytes] : {std::pair<std::size_t, std::size_t>{128, 128}, {1 << 20, 4096}}) {
    for (const auto& [from, to] : {std::pair{&tcp_pair, &tcp_pair}, {&unix_pair, &tcp_pair}, {&tcp_pair, &unix_pair}}) {
      net::SplicePipe::trim();
      EXPECT_TRUE(copy_through(from(), to(), bytes, piece_bytes));
      EXPECT_EQ(net::SplicePipe::pooled(), 1u) << "it went the zero-copy way, through a pipe that is kept";
    }
  }
}

// Messages would lose their boundaries in a pipe; they take the ordinary way.
ROOST_CASE(Streams, MessagesAreCopiedOneByOne) {
  auto in = unixpacket_pair();
  auto out = unixpacket_pair();
  ASSERT_OK(in.client.write("one"));
  ASSERT_OK(in.client.write("two"));
  ASSERT_OK(in.client.close());
  EXPECT_EQ(io::copy(out.client, in.server).value_or(0), 6u);
  EXPECT_EQ(out.server.read(room).value_or(0), 3u);
  EXPECT_EQ(out.server.read(room).value_or(0), 3u);
}

// Exactly so many bytes leave the source.
ROOST_CASE(Streams, ASpliceTakesNoMoreThanItIsTold) {
  auto in = tcp_pair();
  auto out = tcp_pair();
  ASSERT_OK(in.client.write("0123456789"));
  EXPECT_EQ(io::copy_n(out.client, in.server, 4).value_or(0), 4u);
  EXPECT_EQ(read_exactly(out.server, 4).value_or(""), "0123");
  EXPECT_EQ(read_exactly(in.server, 6).value_or(""), "456789");
}

// SP-03
ROOST_CASE(Streams, ASpliceFromAStreamAtItsEndReturnsAtOnce) {
  auto in = tcp_pair();
  auto out = tcp_pair();
  ASSERT_OK(in.client.close());
  EXPECT_EQ(in.server.read(room).value_or(9), 0u);
  within(5s, [&] { EXPECT_EQ(io::copy(out.client, in.server).value_or(9), 0u); });
  ASSERT_OK(out.client.write("goodbye"));
  EXPECT_EQ(read_exactly(out.server, 7).value_or(""), "goodbye");
  // And one that is closed is an error.
  ASSERT_OK(in.server.close());
  EXPECT_TRUE(reports_closed(io::copy(out.client, in.server)));
}

// SP-05
ROOST_CASE(Streams, PipesOfSplicesAreKeptUnlessBytesWereLeftInThem) {
  net::SplicePipe::trim();
  const std::size_t before = open_pipe_ends();
  {
    std::vector<Handle<bool>> copies;
    for (int i = 0; i < 5; ++i) copies.push_back(go([] { return copy_through(tcp_pair(), tcp_pair(), 1 << 18, 8192); }));
    for (auto& copy : copies) EXPECT_TRUE(copy.join());
  }
  const std::size_t kept = net::SplicePipe::pooled();
  EXPECT_GT(kept, 0u);
  EXPECT_EQ(open_pipe_ends(), before + 2 * kept);
  {
    // The target is gone while the pipe is full: its pipe must not serve the next transfer.
    auto in = tcp_pair();
    auto out = tcp_pair();
    auto stuffing = go([&] {
      const auto bytes = some_bytes();
      while (in.client.write(bytes)) {
      }
    });
    auto copying = go([&] { return io::copy(out.client, in.server); });
    ASSERT_TRUE(writing(2));  // the copy and the stuffing both wait
    EXPECT_EQ(net::SplicePipe::pooled(), kept - 1);
    ASSERT_OK(out.client.close());
    EXPECT_TRUE(reports_closed(copying.join()));
    EXPECT_EQ(net::SplicePipe::pooled(), kept - 1);
    ASSERT_OK(in.client.close());
    stuffing.join();
  }
  EXPECT_EQ(net::SplicePipe::trim(), kept - 1);
  EXPECT_EQ(open_pipe_ends(), before);
}

// Without descriptors for a pipe the copy takes the ordinary way.
ROOST_CASE(Streams, ASpliceWithoutDescriptorsGoesThroughUserSpace) {
  net::SplicePipe::trim();
  auto in = tcp_pair();
  auto out = tcp_pair();
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};
  ASSERT_OK(in.client.write("squeezed"));
  ASSERT_OK(in.client.close());
  ::setrlimit(RLIMIT_NOFILE, &none);
  const auto copied = io::copy(out.client, in.server);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_EQ(copied.value_or(0), 8u);
  EXPECT_EQ(read_exactly(out.server, 8).value_or(""), "squeezed");
}

// A target whose reader is gone is an error, not the end of the program.
ROOST_CASE(Streams, ABrokenTargetOfASpliceIsAnError) {
  auto in = tcp_pair();
  auto out = tcp_pair();
  ASSERT_OK(out.server.set_linger(0));
  ASSERT_OK(out.server.close());
  auto copying = go([&] { return io::copy(out.client, in.server); });
  Result<std::size_t> wrote = 0;
  for (int i = 0; i < 100 && !copying.done(); ++i) {
    wrote = in.client.write("x");
    ASSERT_OK(sleep_for(1ms));
  }
  const auto copied = copying.join();
  ASSERT_FALSE(copied);
  EXPECT_TRUE(copied.error() == std::errc::broken_pipe || copied.error() == std::errc::connection_reset)
      << copied.error().message();
}

std::string file_of(std::size_t bytes) {
  const std::string path = fresh_path();
  std::mt19937 random(3);
  std::string text(bytes, '\0');
  std::ranges::generate(text, [&] { return static_cast<char>(random()); });
  std::ofstream(path, std::ios::binary) << text;
  return path;
}
std::string text_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// SP-06
ROOST_CASE(Streams, AFileIsSentWholeInPartsAndFromAnOffset) {
  const std::string path = file_of(300'001);
  const std::string text = text_of(path);
  auto [client, server] = tcp_pair();
  auto sending = go([&conn = client, &path] {
    auto file = must(net::File::open(path));
    const auto whole = io::copy(conn, file);
    EXPECT_EQ(file.offset().value_or(0), 300'001u);

    EXPECT_EQ(file.seek(0).value_or(1), 0u);
    std::uint64_t parts = 0;
    for (const std::uint64_t part : {1u, 1000u, 99'000u, 200'000u}) parts += io::copy_n(conn, file, part).value_or(0);
    EXPECT_EQ(parts, 300'001u);
    EXPECT_EQ(file.offset().value_or(0), 300'001u);
    EXPECT_EQ(io::copy_n(conn, file, 10).value_or(9), 0u);  // at its end

    EXPECT_EQ(file.seek(299'000).value_or(0), 299'000u);
    const auto rest = io::copy(conn, file);
    static_cast<void>(conn.close());
    return whole.value_or(0) + rest.value_or(0);
  });
  EXPECT_TRUE(read_exactly(server, text.size()).value_or("") == text);
  EXPECT_TRUE(read_exactly(server, text.size()).value_or("") == text);
  EXPECT_TRUE(read_exactly(server, 1001).value_or("") == text.substr(299'000));
  EXPECT_EQ(server.read(room).value_or(9), 0u);
  EXPECT_EQ(sending.join(), 300'001u + 1001u);
}

ROOST_CASE(Streams, AFileAndABufferedSourceGoToAPipeInMemoryToo) {
  const std::string path = file_of(100'000);
  auto file = must(net::File::open(path));
  auto [one, two] = net::pipe();
  auto copying = go([&to = one, &file] {
    const auto copied = io::copy(to, file);
    static_cast<void>(to.close());
    return copied;
  });
  EXPECT_TRUE(read_exactly(two, 100'000).value_or("") == text_of(path));
  EXPECT_EQ(copying.join().value_or(0), 100'000u);
}

}  // namespace
}  // namespace roost::test
