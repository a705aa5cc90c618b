// What only a wrong program can cause ends the process and says what, in which fiber, and where in the program: the fiber's name and
// its stack stand below the message.
#include <memory>

#include <roost/sync/chan.h>
#include <roost/sync/mutex.h>
#include <roost/sync/rw_lock.h>
#include <roost/sync/semaphore.h>
#include <roost/sync/task_group.h>
#include <roost/sync/wait_group.h>

#include "conformance/pairs.h"

namespace roost::test {
namespace {

std::array<std::byte, 64> room;

// Runs `body` as a fiber that is called "the culprit".
template <class F>
void as_culprit(F&& body) {
  RuntimeOptions options;
  options.workers = 2;
  run(options, [&] { go({.name = "the culprit"}, [&] { body(); }).join(); });
}

// The message, then the fiber, then its stack down to the fiber's entry.
std::string told(const std::string& message) { return message + "(.|\n)*the culprit(.|\n)* #0 (.|\n)* #1 "; }

void close_a_channel_twice() {
  as_culprit([] {
    const Chan<int> chan;
    chan.close();
    chan.close();
  });
}
void send_on_a_closed_channel() {
  as_culprit([] {
    const Chan<int> chan(1);
    chan.close();
    static_cast<void>(chan.send(1));
  });
}
// Clang would see both before they run.
void unlock_a_free_mutex() {
  as_culprit([]() ROOST_NO_THREAD_SAFETY_ANALYSIS {
    Mutex mutex;
    mutex.unlock();
  });
}
void unlock_a_free_rw_lock() {
  as_culprit([]() ROOST_NO_THREAD_SAFETY_ANALYSIS {
    RwLock lock;
    lock.unlock_shared();
  });
}
void be_done_too_often() {
  as_culprit([] {
    WaitGroup group;
    group.add(2);
    for (int i = 0; i < 3; ++i) group.done();
  });
}
void be_done_too_often_while_others_wait() {
  as_culprit([] {
    WaitGroup group;
    group.add();
    auto waiting = go([&] { group.wait(); });
    static_cast<void>(parked(runtime::WaitReason::wait_group));
    group.add(-2);
    waiting.join();
  });
}
void release_what_was_not_acquired() {
  as_culprit([] { Semaphore(3).release(); });
}
void own_one_descriptor_twice() {
  as_culprit([] {
    auto pair = tcp_pair();
    static_cast<void>(net::Conn::adopt(pair.client.native_handle()));
  });
}
// Use after close: not of the object, which reports an error, but of the descriptor below it. It is noticed by the next system
// call; one that would have to wait first waits for ever, since the kernel has forgotten what to watch.
void read_after_somebody_closed_the_descriptor() {
  as_culprit([] {
    auto pair = tcp_pair();
    must(pair.server.write("x"));
    must(pair.client.wait_readable());
    ::close(pair.client.native_handle());
    static_cast<void>(pair.client.read(room));
  });
}
void write_after_somebody_closed_the_descriptor() {
  as_culprit([] {
    auto pair = unix_pair();
    ::close(pair.client.native_handle());
    static_cast<void>(pair.client.write("x"));
  });
}
void accept_after_somebody_closed_the_descriptor() {
  as_culprit([] {
    auto listener = must(net::listen("tcp", "127.0.0.1:0"));
    auto client = must(net::dial(must(listener.local_endpoint())));
    ::close(listener.native_handle());
    static_cast<void>(listener.accept());
  });
}
void send_a_datagram_after_somebody_closed_the_descriptor() {
  as_culprit([] {
    auto socket = must(net::listen_packet("udp4", "127.0.0.1:0"));
    const auto self = must(socket.local_address());
    ::close(socket.native_handle());
    static_cast<void>(socket.write_to("x", self));
  });
}
void destroy_under_a_call() {
  as_culprit([] {
    auto pair = std::make_unique<Pair>(tcp_pair());
    auto reader = go([&conn = pair->client] { static_cast<void>(conn.read(room)); });
    static_cast<void>(reading());
    pair.reset();
  });
}
void join_twice() {
  as_culprit([] {
    auto fiber = go([] {});
    fiber.join();
    fiber.join();
  });
}

TEST(MisuseDeathTest, IsToldWithTheFibersNameAndItsStack) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(close_a_channel_twice(), told("close of a closed channel"));
  EXPECT_DEATH(send_on_a_closed_channel(), told("send on a closed channel"));
  EXPECT_DEATH(unlock_a_free_mutex(), told("unlock of an unlocked mutex"));
  EXPECT_DEATH(unlock_a_free_rw_lock(), told("not locked for reading"));
  EXPECT_DEATH(be_done_too_often(), told("negative WaitGroup counter"));
  EXPECT_DEATH(be_done_too_often_while_others_wait(), told("negative WaitGroup counter"));
  EXPECT_DEATH(release_what_was_not_acquired(), told("released more often than it was acquired"));
  EXPECT_DEATH(join_twice(), told("join\\(\\) of a handle without a fiber"));
}

TEST(MisuseDeathTest, OfADescriptorIsToldWithItsNumber) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(own_one_descriptor_twice(), told("descriptor [0-9]+ has two owners"));
  EXPECT_DEATH(read_after_somebody_closed_the_descriptor(), told("descriptor [0-9]+ was closed behind its owner's back"));
  EXPECT_DEATH(write_after_somebody_closed_the_descriptor(), told("descriptor [0-9]+ was closed behind its owner's back"));
  EXPECT_DEATH(accept_after_somebody_closed_the_descriptor(), told("descriptor [0-9]+ was closed behind its owner's back"));
  EXPECT_DEATH(send_a_datagram_after_somebody_closed_the_descriptor(), told("descriptor [0-9]+ was closed behind its owner's back"));
  EXPECT_DEATH(destroy_under_a_call(), told("destroyed while a call on it was under way"));
}

// A descriptor that was opened for the other direction only is the same errno and no such mistake.
TEST(Misuse, AnEndOfAPipeUsedTheWrongWayIsAnError) {
  run([] {
    auto pipe = must(net::os_pipe());
    EXPECT_ERROR(pipe.read_end.write("x"), std::errc::bad_file_descriptor);
    EXPECT_ERROR(pipe.write_end.read(room), std::errc::bad_file_descriptor);
  });
}

// Use after close of an object is an error, of every call.
ROOST_SUITE(AfterClose);
ROOST_CASE(AfterClose, EveryCallOfAConnectionReportsIt) {
  for (const auto make : pair_makers) {
    auto [client, server] = make();
    ASSERT_OK(client.close());
    const std::array<std::span<const std::byte>, 1> out{std::span(room)};
    const std::array<std::span<std::byte>, 1> in{std::span(room)};
    EXPECT_TRUE(reports_closed(client.read(room)));
    EXPECT_TRUE(reports_closed(client.read(std::span<std::byte>())));
    EXPECT_TRUE(reports_closed(client.read_vectored(in)));
    EXPECT_TRUE(reports_closed(client.write("x")));
    EXPECT_TRUE(reports_closed(client.write("")));
    EXPECT_TRUE(reports_closed(client.write_some(room)));
    EXPECT_TRUE(reports_closed(client.write_vectored(out)));
    EXPECT_TRUE(reports_closed(client.send_file(0, 1)));
    EXPECT_TRUE(reports_closed(client.wait_readable()));
    EXPECT_TRUE(reports_closed(client.wait_writable()));
    EXPECT_TRUE(reports_closed(client.set_read_deadline(Deadline::none())));
    EXPECT_TRUE(reports_closed(client.set_write_deadline_after(1s)));
    EXPECT_TRUE(reports_closed(client.set_idle_timeout(1s)));
    EXPECT_TRUE(reports_closed(client.close_write()));
    EXPECT_TRUE(reports_closed(client.close_read()));
    EXPECT_TRUE(reports_closed(client.set_no_delay(true)));
    EXPECT_TRUE(reports_closed(client.set_keep_alive({})));
    EXPECT_TRUE(reports_closed(client.set_linger(1)));
    EXPECT_TRUE(reports_closed(client.set_user_timeout(1s)));
    EXPECT_TRUE(reports_closed(client.set_read_buffer(4096)));
    EXPECT_TRUE(reports_closed(client.tcp_info()));
    EXPECT_TRUE(reports_closed(client.peer_credentials()));
    EXPECT_TRUE(reports_closed(client.local_address()));
    EXPECT_TRUE(reports_closed(client.send_descriptors(io::as_bytes("x"), {})));
    EXPECT_TRUE(reports_closed(client.receive_descriptors(room, {})));
    EXPECT_TRUE(reports_closed(client.duplicate()));
    EXPECT_TRUE(reports_closed(client.release()));
    EXPECT_TRUE(reports_closed(io::copy(server, client)));
    EXPECT_TRUE(reports_closed(client.close()));
  }
}
// So it is before an open, and after a move.
ROOST_CASE(AfterClose, AConnectionThatWasNeverOpenReportsItToo) {
  net::Conn never;
  auto [client, server] = tcp_pair();
  const net::Conn taken = std::move(client);
  for (net::Conn* conn : {&never, &client}) {
    EXPECT_FALSE(conn->is_open());
    EXPECT_TRUE(reports_closed(conn->read(room)));
    EXPECT_TRUE(reports_closed(conn->write("x")));
    EXPECT_TRUE(reports_closed(conn->set_deadline(Deadline::none())));
    EXPECT_TRUE(reports_closed(conn->local_endpoint()));
    EXPECT_TRUE(reports_closed(conn->close()));
    EXPECT_EQ(conn->native_handle(), -1);
    EXPECT_FALSE(conn->describe("read", Errc::closed).empty());
  }
  net::Listener listener;
  EXPECT_TRUE(reports_closed(listener.accept()));
  EXPECT_TRUE(reports_closed(listener.set_deadline(Deadline::none())));
  EXPECT_TRUE(reports_closed(listener.close()));
  net::PacketConn socket;
  EXPECT_TRUE(reports_closed(socket.read_from(room)));
  EXPECT_TRUE(reports_closed(socket.write_to("x", net::Endpoint{})));
  EXPECT_TRUE(reports_closed(socket.set_deadline(Deadline::none())));
  EXPECT_TRUE(reports_closed(socket.close()));
  net::PipeConn pipe;
  EXPECT_TRUE(reports_closed(pipe.read(room)));
  EXPECT_TRUE(reports_closed(pipe.write("x")));
  EXPECT_TRUE(reports_closed(pipe.set_deadline(Deadline::none())));
  EXPECT_TRUE(reports_closed(pipe.close()));
  net::Descriptor descriptor;
  EXPECT_TRUE(reports_closed(descriptor.read(room)));
  EXPECT_TRUE(reports_closed(descriptor.write("x")));
  EXPECT_TRUE(reports_closed(descriptor.close()));
}

// --- parking in a destructor while the runtime stops ---------------------------------------------------------------

struct ParksInItsDestructor {
  ~ParksInItsDestructor() {  // noexcept, as destructors are
    slept = sleep_for(1h);
    received = never.receive();
  }
  Chan<int> never;
  Result<void>& slept;
  Result<int>& received;
};

// Cancellation is an error and no exception, so a destructor may park while everything is being canceled: the call fails at once.
TEST(Misuse, ADestructorThatParksWhileTheRuntimeStopsGoesOn) {
  Result<void> slept;
  Result<int> received;
  run([&] {
    go([&] {
      const ParksInItsDestructor object{{}, slept, received};
      static_cast<void>(sleep_for(1h));
    });
    static_cast<void>(parked(runtime::WaitReason::sleep));
  });
  EXPECT_ERROR(slept, std::errc::operation_canceled);
  EXPECT_ERROR(received, std::errc::operation_canceled);
}

struct WaitsForEverInItsDestructor {
  ~WaitsForEverInItsDestructor() { group.wait(); }  // which no cancellation ends
  WaitGroup group;
};

void wait_for_ever_in_a_destructor() {
  RuntimeOptions options;
  options.shutdown_grace = 50ms;
  run(options, [] {
    go({.name = "the culprit"}, [] {
      WaitsForEverInItsDestructor object;
      object.group.add();
      static_cast<void>(sleep_for(1h));
    });
    static_cast<void>(parked(runtime::WaitReason::sleep));
  });
  std::_Exit(0);
}

TEST(MisuseDeathTest, ADestructorThatNeverEndsWhileTheRuntimeStopsIsNamed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // Named, with what it waits for and the stack from there down to its entry.
  EXPECT_EXIT(wait_for_ever_in_a_destructor(), testing::ExitedWithCode(0),
              "1 fiber did not leave within 50 ms(.|\n)*\\(the culprit\\), parked: wait group(.|\n)*"
              "WaitGroup::wait\\(\\)(.|\n)*wait_for_ever_in_a_destructor");
}

}  // namespace
}  // namespace roost::test
