#include <roost/net/resolver.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

#include "net/resolver_core.h"
#include "net/resolver_order.h"
#include "net/socket.h"
#include "runtime/runtime_state.h"

namespace roost::net {

namespace {

// RFC 1035, in text: with the dots, without the one at the end.
constexpr std::size_t name_length_max = 253;
constexpr std::size_t label_length_max = 63;

bool is_possible_name(std::string_view name) noexcept {
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty() || name.size() > name_length_max) return false;
  std::size_t label = 0;
  for (const char c : name) {
    if (c == '\0') return false;
    label = c == '.' ? 0 : label + 1;
    if (label > label_length_max) return false;
  }
  return !name.starts_with('.') && !name.contains("..");
}

// RFC 6761, section 6.3.
bool is_localhost(std::string_view name) noexcept { return name == "localhost" || name.ends_with(".localhost"); }

bool is_of(IpFamily family, const IpAddress& address) noexcept {
  return family == IpFamily::any || address.is_v6() == (family == IpFamily::v6);
}

// The domain of this host's own name, which is the search list where none is configured.
std::vector<std::string> own_domain() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return {};
  const std::string_view text = name.data();
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos || dot + 1 == text.size()) return {};
  return {lower_case(text.substr(dot + 1))};
}

// Those that a machine without /etc/services knows all the same.
constexpr std::pair<std::string_view, std::uint16_t> well_known_ports[] = {
    {"tcp/domain", 53}, {"udp/domain", 53}, {"tcp/ftp", 21},    {"tcp/http", 80},  {"tcp/https", 443},      {"tcp/imap2", 143},
    {"tcp/imaps", 993}, {"tcp/pop3", 110},  {"tcp/pop3s", 995}, {"tcp/smtp", 25},  {"tcp/submission", 587}, {"tcp/ssh", 22},
    {"tcp/telnet", 23}, {"udp/ntp", 123},
};

}  // namespace

// --- questions under way -------------------------------------------------------------------------------------------

std::string Question::key() const {
  std::string text{static_cast<char>(kind), static_cast<char>('0' + static_cast<int>(family))};
  return text += kind == Kind::names ? address.to_string() : name;
}

ResolverCore::ResolverCore(ResolverOptions chosen)
    : options(std::move(chosen)),
      hosts(options.hosts_path, &parse_hosts),
      services(options.services_path, &parse_services),
      resolv_conf(options.resolv_conf_path, &parse_resolv_conf) {}

ResolvConf ResolverCore::configuration(const ResolvConf& found) const {
  ResolvConf conf = found;
  if (!options.servers.empty()) conf.servers = options.servers;
  if (conf.servers.empty()) conf.servers = {{IpAddress::loopback_v4(), 53}};
  if (options.search) {
    conf.search = *options.search;
  } else if (!conf.has_search) {
    conf.search = own_domain();
  }
  if (options.ndots) conf.ndots = *options.ndots;
  if (options.timeout) conf.timeout = std::max(*options.timeout, std::chrono::milliseconds(1));
  if (options.tries) conf.tries = std::max(*options.tries, 1u);
  return conf;
}

Result<Answer> ResolverCore::ask(Question question, Deadline deadline) {
  if (runtime::Runtime::current() == nullptr) return fail(Errc::canceled);
  auto conf = resolv_conf.get();
  auto flight = std::make_shared<Flight>(std::move(question));
  const runtime::Waiter self = runtime::current_waiter();
  bool entered = false;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (flight->done) {
        if (flight->answer.error) return fail(flight->answer.error);
        return flight->answer;
      }
      std::error_code error = runtime::current_interruption();
      if (!error && deadline.has_passed()) error = Errc::deadline_exceeded;
      if (error) {
        if (entered) {
          // One entry of ours: a fiber or thread is in one call at a time.
          const auto own = std::ranges::find(flight->waiting, self.bits(), &runtime::Waiter::bits);
          flight->waiting.erase(own);
          if (flight->waiting.empty()) drop(*flight);
        }
        return fail(error);
      }
      if (!entered) {
        entered = true;
        const auto [place, is_new] = flights_.try_emplace(flight->key, flight);
        flight = place->second;
        flight->waiting.push_back(self);
        if (is_new) {
          lined_up_.push_back(flight);
          newest_conf_ = std::move(conf);
          dispatch();
        }
      }
    }
    runtime::park_until(runtime::WaitReason::resolver, deadline.ns(), this);
  }
}

void ResolverCore::dispatch() {
  while (!lined_up_.empty() && in_flight_ < std::max<std::size_t>(options.in_flight_max, 1)) {
    std::shared_ptr<Flight> flight = std::move(lined_up_.front());
    lined_up_.pop_front();
    if (flight->done) continue;  // dropped while it waited
    if (current_ == nullptr || !current_->takes_more()) {
      auto lane = std::make_shared<Lane>(shared_from_this(), newest_conf_);
      current_ = lane.get();
      go({.name = "resolver"}, [lane] { lane->run(); });
    }
    ++in_flight_;
    flight->in_flight = true;
    current_->take(std::move(flight));
  }
}

void ResolverCore::forget(const Flight& flight) {
  const auto found = flights_.find(flight.key);
  if (found != flights_.end() && found->second.get() == &flight) flights_.erase(found);
}

void ResolverCore::drop(Flight& flight) {
  flight.done = true;
  flight.answer.error = Errc::canceled;
  if (flight.in_flight) --in_flight_;
  if (flight.lane != nullptr) std::exchange(flight.lane, nullptr)->lose_one();
  forget(flight);
  dispatch();
}

void ResolverCore::finish(const std::shared_ptr<Flight>& flight, Answer answer) {
  std::vector<runtime::Waiter> waiting;
  {
    const std::lock_guard lock(mutex_);
    if (flight->done) return;
    flight->done = true;
    flight->answer = std::move(answer);
    waiting.swap(flight->waiting);
    --in_flight_;
    std::exchange(flight->lane, nullptr)->lose_one();
    forget(*flight);
    dispatch();
  }
  for (const runtime::Waiter waiter : waiting) runtime::unpark(waiter);
}

// --- the public face -----------------------------------------------------------------------------------------------

Resolver::Resolver(ResolverOptions options) : core_(std::make_shared<ResolverCore>(std::move(options))) {}
Resolver::~Resolver() = default;

Resolver& Resolver::system() {
  static auto* resolver = new Resolver;  // never destroyed: fibers may look names up until the end
  return *resolver;
}

Result<std::vector<IpAddress>> Resolver::resolve(std::string_view host, const ResolveOptions& options) {
  if (host.empty()) return fail(Errc::bad_address);
  if (const auto literal = IpAddress::parse(host)) {
    if (!is_of(options.family, *literal)) return fail(Errc::no_suitable_address);
    return std::vector{*literal};
  } else if (host.contains(':')) {
    return fail(literal.error());  // no name has a colon
  }
  if (!is_possible_name(host)) return fail(Errc::host_not_found);
  std::string name = lower_case(host);
  const std::string_view bare = std::string_view(name).substr(0, name.size() - (name.ends_with('.') ? 1 : 0));

  const auto table = core_->hosts.get();
  if (const auto entry = table->by_name.find(std::string(bare)); entry != table->by_name.end()) {
    std::vector<IpAddress> addresses;
    std::ranges::copy_if(entry->second, std::back_inserter(addresses),
                         [&](const IpAddress& address) { return is_of(options.family, address); });
    if (!addresses.empty()) return in_order(std::move(addresses));
  }
  if (is_localhost(bare)) {
    std::vector<IpAddress> addresses;
    if (options.family != IpFamily::v4) addresses.push_back(IpAddress::loopback_v6());
    if (options.family != IpFamily::v6) addresses.push_back(IpAddress::loopback_v4());
    return in_order(std::move(addresses));
  }
  auto answer = core_->ask({.name = std::move(name), .family = options.family}, options.deadline);
  if (!answer) return fail(answer.error());
  return std::move(answer->addresses);
}

Result<std::uint16_t> Resolver::port_of(std::string_view network, std::string_view service) {
  const auto parsed = parse_network(network);
  if (!parsed) return fail(parsed.error());
  if (parsed->is_unix()) return fail(Errc::unknown_network);
  if (service.empty() || service.front() == '-' || service.front() == '+') return fail(Errc::bad_address);
  if (std::ranges::all_of(service, [](char c) { return c >= '0' && c <= '9'; })) return parse_port(service);
  const std::string key = (parsed->is_packet() ? "udp/" : "tcp/") + lower_case(service);
  const auto table = core_->services.get();
  if (const auto found = table->ports.find(key); found != table->ports.end()) return found->second;
  for (const auto& [known, port] : well_known_ports) {
    if (known == key) return port;
  }
  return fail(Errc::bad_address);
}

Result<std::vector<Endpoint>> Resolver::resolve_endpoints(std::string_view network, std::string_view address,
                                                          const ResolveOptions& options) {
  const auto parsed = parse_network(network);
  if (!parsed) return fail(parsed.error());
  if (parsed->is_unix()) return fail(Errc::unknown_network);
  const auto parts = split_host_port(address);
  if (!parts) return fail(parts.error());
  const auto port = port_of(network, parts->port);
  if (!port) return fail(port.error());
  ResolveOptions wanted = options;
  if (parsed->family == Family::v4) wanted.family = IpFamily::v4;
  if (parsed->family == Family::v6) wanted.family = IpFamily::v6;
  if (parts->host.empty()) {
    return std::vector{Endpoint{wanted.family == IpFamily::v6 ? IpAddress::loopback_v6() : IpAddress::loopback_v4(), *port}};
  }
  const auto addresses = resolve(parts->host, wanted);
  if (!addresses) return fail(addresses.error());
  std::vector<Endpoint> endpoints;
  endpoints.reserve(addresses->size());
  for (const IpAddress& one : *addresses) endpoints.push_back({one, *port});
  return endpoints;
}

Result<std::vector<std::string>> Resolver::names_of(const IpAddress& address, Deadline deadline) {
  const auto table = core_->hosts.get();
  if (const auto entry = table->by_address.find(address); entry != table->by_address.end()) return entry->second;
  auto answer = core_->ask({.kind = Question::Kind::names, .name = {}, .address = address}, deadline);
  if (!answer) return fail(answer.error());
  return std::move(answer->names);
}

}  // namespace roost::net
