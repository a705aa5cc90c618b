"""Fibers for gdb: those of a live process and those in a core file.

    gdb -x scripts/gdb/roost.py PROGRAM PID
    gdb -x scripts/gdb/roost.py PROGRAM CORE

    info fibers [COUNT]   lists fibers (1000 unless told): id, state, what for, how long, name
    fiber ID              what is known of one
    fiber ID bt           its stack
    fibers bt             all stacks, equal ones once, with their number

All is found by the table `roost_debug_description` (src/runtime/debug_description.h), so the program needs no debug
information; with it, stacks show files and lines. Stacks of parked and runnable fibers are walked by frame pointers from the
saved registers; of those that run it is the thread's stack that gdb shows (`thread N`, `bt`).
"""

import collections
import struct

import gdb

FIELDS = """version bytes regions region_count region_base region_size_class region_carved smallest_stack_bytes colours
colour_step fiber_bytes fiber_sp fiber_state fiber_wait_since_ns fiber_wait_object fiber_wait_reason fiber_live fiber_ended
fiber_name fiber_id fiber_stack_low fiber_stack_top desc_fd reason_count""".split()
WORD = 8
FRAMES_MAX = 64
STATES = {0: "runnable", 1: "runnable", 2: "parked", 3: "parked"}
IO_REASONS = ("read", "write", "its turn on a descriptor")
# Where jump_fcontext leaves the frame pointer, in words from the saved stack pointer (src/arch/frame_walk.h).
FRAME_WORDS = {"i386:x86-64": (6, 7), "aarch64": (18,)}
# Frames that say the same in every stack.
PARKING = ("roost::runtime::park(", "roost::runtime::park_until(", "roost::runtime::Worker::depart(",
           "roost::runtime::Worker::yield_to(", "roost::runtime::Worker::switch_out(",
           "roost::runtime::(anonymous namespace)::park_fiber(")
ENTRY = "roost::runtime::Worker::fiber_entry("


def read(address, size):
    return bytes(gdb.selected_inferior().read_memory(address, size))


def read_word(address):
    return struct.unpack("<Q", read(address, WORD))[0]


def read_text(address, limit=200):
    text = b""
    while address and len(text) < limit:
        try:
            byte = read(address + len(text), 1)
        except gdb.MemoryError:
            break
        if byte == b"\0":
            break
        text += byte
    return text.decode("utf-8", "replace")


class Layout:
    """The table, with the fields by name."""

    def __init__(self):
        try:
            address = int(gdb.parse_and_eval("(unsigned long)&roost_debug_description"))
        except gdb.error:
            raise gdb.GdbError("this program has no roost in it, or was stripped: there is no roost_debug_description")
        self.__dict__.update(zip(FIELDS, struct.unpack("<%dQ" % len(FIELDS), read(address, WORD * len(FIELDS)))))
        if self.version != 1:
            raise gdb.GdbError("roost's table has version %d; this script knows 1: use the one of the same release" % self.version)
        names = address + WORD * len(FIELDS)
        self.reasons = [read_text(read_word(names + WORD * i)) for i in range(self.reason_count)]


class Fiber:
    def __init__(self, layout, address):
        block = read(address, layout.fiber_bytes)

        def word(offset, form="<Q"):
            return struct.unpack_from(form, block, offset)[0]

        self.live = word(layout.fiber_live, "<B") != 0 and word(layout.fiber_ended, "<B") == 0
        if not self.live:
            return
        self.address = address
        self.id = word(layout.fiber_id)
        self.sp = word(layout.fiber_sp)
        self.stack_low = word(layout.fiber_stack_low)
        self.stack_top = word(layout.fiber_stack_top)
        self.since_ns = word(layout.fiber_wait_since_ns, "<q")
        self.state = STATES.get(word(layout.fiber_state, "<I"), "?")
        reason = word(layout.fiber_wait_reason, "<B")
        self.reason = layout.reasons[reason] if self.state == "parked" and reason < len(layout.reasons) else ""
        self.name = read_text(word(layout.fiber_name))
        self.thread = None
        self.descriptor = None
        if self.reason in IO_REASONS:
            desc = word(layout.fiber_wait_object)
            if desc:
                self.descriptor = struct.unpack("<i", read(desc + layout.desc_fd, 4))[0]

    def frames(self):
        """Return addresses, innermost first."""
        words = FRAME_WORDS.get(gdb.selected_inferior().architecture().name(), ())
        for at in words:
            try:
                frame = read_word(self.sp + WORD * at)
            except gdb.MemoryError:
                return []
            found = []
            while self.sp < frame and frame + 2 * WORD <= self.stack_top and frame % WORD == 0 and len(found) < FRAMES_MAX:
                up, address = struct.unpack("<2Q", read(frame, 2 * WORD))
                if address == 0:
                    break
                found.append(address)
                if up <= frame:
                    break
                frame = up
            if len(found) >= 2:
                return found
        return []


def all_fibers(layout):
    if not layout.regions:
        return
    for index in range(read_word(layout.region_count)):
        region = read_word(layout.regions + WORD * index)
        if not region:
            continue
        base = read_word(region + layout.region_base)
        size = layout.smallest_stack_bytes << struct.unpack("<i", read(region + layout.region_size_class, 4))[0]
        carved = struct.unpack("<I", read(region + layout.region_carved, 4))[0]
        for slot in range(carved):
            top = base + (slot + 1) * size
            try:
                fiber = Fiber(layout, top - layout.fiber_bytes - (slot % layout.colours) * layout.colour_step)
            except gdb.MemoryError:  # a page that the core file left out
                continue
            if fiber.live:
                yield fiber


def load():
    """All fibers, those that run on a thread marked as such; and the time of the last thing known."""
    layout = Layout()
    fibers = list(all_fibers(layout))
    chosen = gdb.selected_thread()
    frame = gdb.selected_frame() if chosen else None
    pointers = []
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        pointers.append((int(gdb.parse_and_eval("(unsigned long)$sp")), thread.num))
    if chosen:
        chosen.switch()
        try:
            frame.select()
        except gdb.error:
            pass
    for pointer, number in pointers:
        for fiber in fibers:
            if fiber.stack_low <= pointer < fiber.stack_top:
                fiber.state, fiber.reason, fiber.thread = "running", "", number
    now = max((fiber.since_ns for fiber in fibers), default=0)
    return fibers, now


NAMES = {}


def name_of(address):
    """A return address as "function+offset at file:line"."""
    if address not in NAMES:
        inside = address - 1
        text = gdb.execute("info symbol 0x%x" % inside, to_string=True).strip()
        text = "0x%x" % address if text.startswith("No symbol") else text.split(" in section ")[0]
        place = gdb.find_pc_line(inside)
        if place.symtab is not None and place.line:
            text += " at %s:%d" % (place.symtab.filename, place.line)
        NAMES[address] = text
    return NAMES[address]


def stack_of(fiber):
    names = [name_of(address) for address in fiber.frames()]
    first = 0
    for index, name in enumerate(names[:6]):
        if name.startswith(PARKING):
            first = index + 1
    last = next((index for index, name in enumerate(names) if name.startswith(ENTRY)), len(names))
    return names[first:last]


def span(ns):
    if ns < 0:
        ns = 0
    return "%.3f s" % (ns / 1e9) if ns < 60e9 else "%d m %02d s" % (ns / 60e9, ns / 1e9 % 60)


def describe(fiber, now):
    text = fiber.state
    if fiber.thread is not None:
        text += " on thread %d" % fiber.thread
    if fiber.reason:
        text += ": %s" % fiber.reason
    if fiber.descriptor is not None:
        text += " on descriptor %d" % fiber.descriptor
    if fiber.state == "parked":
        text += ", %s" % span(now - fiber.since_ns)
    return text


def write(text):
    gdb.write(text + "\n")


class InfoFibers(gdb.Command):
    """List fibers: info fibers [COUNT]. Times count up to the last park of any fiber, as a core file has no clock."""

    def __init__(self):
        super().__init__("info fibers", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        try:
            limit = int(argument) if argument else 1000
        except ValueError:
            raise gdb.GdbError("info fibers: `%s` is not a number of fibers" % argument)
        fibers, now = load()
        write("%8s  %-22s %s" % ("Id", "Name", "State"))
        for fiber in fibers[:limit]:
            write("%8d  %-22s %s" % (fiber.id, fiber.name, describe(fiber, now)))
        if len(fibers) > limit:
            write("... and %d more; `info fibers %d` lists all, `fibers bt` groups them" % (len(fibers) - limit, len(fibers)))


class OneFiber(gdb.Command):
    """Show one fiber: fiber ID, or fiber ID bt for its stack."""

    def __init__(self):
        super().__init__("fiber", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = argument.split()
        if not words or not words[0].isdigit() or words[1:] not in ([], ["bt"]):
            raise gdb.GdbError("write: fiber ID, or fiber ID bt; `info fibers` lists them")
        fibers, now = load()
        for fiber in fibers:
            if fiber.id != int(words[0]):
                continue
            write("fiber %d%s, %s" % (fiber.id, " (%s)" % fiber.name if fiber.name else "", describe(fiber, now)))
            if fiber.thread is not None:
                write("its stack is the thread's: thread %d, then bt" % fiber.thread)
            elif words[1:]:
                for index, name in enumerate(stack_of(fiber)):
                    write("#%-3d %s" % (index, name))
            return
        raise gdb.GdbError("there is no fiber %s; `info fibers` lists them" % words[0])


class Fibers(gdb.Command):
    """Show all stacks, equal ones once: fibers bt."""

    def __init__(self):
        super().__init__("fibers", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        if argument.strip() != "bt":
            raise gdb.GdbError("write: fibers bt")
        fibers, now = load()
        groups = collections.defaultdict(list)
        for fiber in fibers:
            frames = () if fiber.thread is not None else tuple(fiber.frames())
            groups[(fiber.state, fiber.reason, frames)].append(fiber)
        write("%d fibers in %d groups" % (len(fibers), len(groups)))
        for (state, reason, _), members in sorted(groups.items(), key=lambda item: -len(item[1])):
            waits = [now - fiber.since_ns for fiber in members]
            names = {fiber.name for fiber in members}
            name = " (%s)" % names.pop() if len(names) == 1 and "" not in names else ""
            text = "\n%d fibers%s, %s" % (len(members), name, state)
            if reason:
                text += ": %s, for %s to %s" % (reason, span(min(waits)), span(max(waits)))
            write(text)
            if members[0].thread is None:
                for frame in stack_of(members[0]):
                    write("    %s" % frame)
            shown = ", ".join(str(fiber.id) for fiber in members[:5])
            write("  fiber%s %s%s" % ("s" if len(members) > 1 else "", shown, ", ..." if len(members) > 5 else ""))


# By which the library asks a running fiber for its stack: nothing to stop at.
gdb.execute("handle SIG41 nostop noprint pass", to_string=True)
InfoFibers()
OneFiber()
Fibers()
