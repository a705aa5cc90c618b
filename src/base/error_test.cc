#include <roost/error.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <future>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace roost {
namespace {

const std::vector<Errc> all_errors = {
    Errc::end_of_stream,       Errc::closed,          Errc::deadline_exceeded,   Errc::canceled,
    Errc::token_too_long,      Errc::no_progress,     Errc::short_write,         Errc::bad_address,
    Errc::unknown_network,     Errc::host_not_found,  Errc::name_server_failure, Errc::no_suitable_address,
    Errc::pool_closed,         Errc::buffer_full,     Errc::invalid_unread,      Errc::missing_address,
    Errc::deadlock,
};

TEST(Error, EqualsTheStandardConditionThatMeansTheSame) {
  const std::vector<std::pair<Errc, std::errc>> pairs = {
      {Errc::closed, std::errc::bad_file_descriptor},
      {Errc::deadline_exceeded, std::errc::timed_out},
      {Errc::canceled, std::errc::operation_canceled},
      {Errc::token_too_long, std::errc::message_size},
      {Errc::bad_address, std::errc::invalid_argument},
      {Errc::unknown_network, std::errc::address_family_not_supported},
      {Errc::pool_closed, std::errc::operation_canceled},
      {Errc::buffer_full, std::errc::no_buffer_space},
      {Errc::invalid_unread, std::errc::invalid_argument},
      {Errc::missing_address, std::errc::destination_address_required},
      {Errc::deadlock, std::errc::resource_deadlock_would_occur},
  };
  for (const auto& [error, condition] : pairs) {
    EXPECT_EQ(make_error_code(error), condition) << error_name(error);
    EXPECT_NE(make_error_code(error), std::errc::io_error) << error_name(error);
  }
}

TEST(Error, WithoutAStandardMeaningEqualsItselfAlone) {
  for (const Errc error : {Errc::end_of_stream, Errc::no_progress, Errc::short_write, Errc::host_not_found}) {
    EXPECT_EQ(make_error_code(error), error);
    EXPECT_EQ(make_error_code(error).default_error_condition().category(), error_category());
  }
  EXPECT_NE(make_error_code(Errc::end_of_stream), Errc::closed);
}

TEST(Error, ZeroIsNoError) {
  const std::error_code none;
  EXPECT_FALSE(none);
  EXPECT_TRUE(make_error_code(Errc::end_of_stream));
  EXPECT_EQ(error_name(none), "success");
  EXPECT_FALSE(is_timeout(none));
  EXPECT_FALSE(is_temporary(none));
}

TEST(Error, MessagesAndNamesAreThereAndDistinct) {
  std::set<std::string> messages, names;
  for (const Errc error : all_errors) {
    const std::error_code code = error;
    EXPECT_STREQ(code.category().name(), "roost");
    EXPECT_THAT(code.message(), testing::Not(testing::HasSubstr("unknown roost error")));
    messages.insert(code.message());
    names.emplace(error_name(code));
  }
  EXPECT_EQ(messages.size(), all_errors.size());
  EXPECT_EQ(names.size(), all_errors.size());
  EXPECT_EQ(error_category().message(999), "unknown roost error 999");
  EXPECT_EQ(error_name({999, error_category()}), "unknown roost error");
}

TEST(Error, NamesAreWhatScriptsLookFor) {
  EXPECT_EQ(error_name(std::make_error_code(std::errc::connection_refused)), "ECONNREFUSED");
  EXPECT_EQ(error_name({EMFILE, std::system_category()}), "EMFILE");
  EXPECT_EQ(error_name(Errc::deadline_exceeded), "timed_out");
  EXPECT_EQ(error_name({200, std::generic_category()}), "errno 200");
  EXPECT_EQ(error_name({134, std::generic_category()}), "errno 134");
  EXPECT_EQ(error_name({-1, std::generic_category()}), "errno out of range");
  EXPECT_EQ(error_name(std::make_error_code(std::future_errc::broken_promise)), "future");
}

TEST(Error, ADeadlineAndTheKernelsOwnTimeOutAreTimeouts) {  // CX-13
  EXPECT_TRUE(is_timeout(Errc::deadline_exceeded));
  EXPECT_TRUE(is_timeout({ETIMEDOUT, std::generic_category()}));
  EXPECT_TRUE(is_timeout({ETIMEDOUT, std::system_category()}));
}

TEST(Error, AClosedConnectionIsNeitherATimeoutNorTemporary) {  // CL-18
  EXPECT_FALSE(is_timeout(Errc::closed));
  EXPECT_FALSE(is_temporary(Errc::closed));
}

TEST(Error, IsTemporaryOnlyWhereTheSameCallMaySucceedLater) {
  for (const int value : {EINTR, EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED}) {
    EXPECT_TRUE(is_temporary({value, std::generic_category()})) << error_name({value, std::generic_category()});
  }
  EXPECT_TRUE(is_temporary(Errc::name_server_failure));
  EXPECT_FALSE(is_temporary({ECONNRESET, std::generic_category()}));  // CL-16
  EXPECT_FALSE(is_temporary(Errc::deadline_exceeded));
  EXPECT_FALSE(is_temporary(Errc::buffer_full));  // equals ENOBUFS, yet asking again changes nothing
  EXPECT_FALSE(is_temporary(Errc::host_not_found));
}

TEST(Error, FailMakesAnUnexpectedOfEachKindOfError) {
  const Result<int> own = fail(Errc::short_write);
  const Result<int> standard = fail(std::errc::connection_reset);
  const Result<int> passed_on = fail(own.error());
  EXPECT_EQ(own.error(), Errc::short_write);
  EXPECT_EQ(standard.error(), std::errc::connection_reset);
  EXPECT_EQ(passed_on.error(), Errc::short_write);
}

}  // namespace
}  // namespace roost
