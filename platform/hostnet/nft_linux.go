package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// filterTable is what stands between forwarding and the world. It can only forbid: the host's own firewall still decides on what
// it lets pass.
type filterTable interface {
	replace(ruleset) error // no packet meets half of it
	close() error          // removes it
}

// ruleset says what may be forwarded.
type ruleset struct {
	TUN, Uplink  string
	CLAT, PREF64 []addrRange
	RepliesOnly  bool
	Close        closing
}

// closing is what must not be forwarded besides, because it is forwarded on our account only.
type closing uint8

const (
	closeNothing closing = iota
	closeUplink          // all IPv6 that comes in by the uplink
	closeAll             // all IPv6
)

// nftTable is our table in nftables. It is owned by the socket (Linux 5.12): nobody else changes it, also not "nft flush ruleset", and the
// kernel removes it when the socket is closed, however the process ends.
type nftTable struct {
	conn  *nftables.Conn
	table *nftables.Table
	chain *nftables.Chain
	sets  []*nftables.Set // of the rules in force
}

// batchLen is what the sets and rules of one transaction may take, in octets: 10,000 explicit mappings take 2 MB. It is a limit, and no memory.
const batchLen = 64 << 20

// tableOwner is NFT_TABLE_F_OWNER of linux/netfilter/nf_tables.h.
const tableOwner = 0x2

// openTable makes the table, empty.
func openTable() (filterTable, error) {
	var socket *netlink.Conn
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		socket = c
		return errors.Join(c.SetWriteBuffer(batchLen), c.SetReadBuffer(batchLen))
	}))
	if err != nil {
		return nil, fmt.Errorf("nftables: not in this kernel: %w: load nf_tables or use the packet path", err)
	}
	table := &nftables.Table{Name: Table, Family: nftables.TableFamilyINet}
	if err := ownTable(socket); err != nil {
		// To somebody else's table the kernel says EPERM, as it does to somebody without the capability.
		_, lookup := conn.ListTableOfFamily(Table, table.Family)
		return nil, errors.Join(explainTable(err, lookup == nil), conn.CloseLasting())
	}
	policy := nftables.ChainPolicyAccept
	return &nftTable{conn: conn, table: table, chain: &nftables.Chain{
		Name:     "forward",
		Table:    table,
		Type:     nftables.ChainTypeFilter,
		Hooknum:  nftables.ChainHookForward,
		Priority: nftables.ChainPriorityFilter,
		Policy:   &policy,
	}}, nil
}

// ownTable sends the one message that google/nftables cannot: a new table with the flag "owner".
func ownTable(c *netlink.Conn) error {
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte(Table + "\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: binary.BigEndian.AppendUint32(nil, tableOwner)},
	})
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	const newTable = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE
	header := func(family byte, resource uint16) []byte { // struct nfgenmsg
		return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
	}
	_, err = c.SendMessages([]netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: header(0, unix.NFNL_SUBSYS_NFTABLES)},
		{Header: netlink.Header{Type: newTable, Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl},
			Data: append(header(unix.NFPROTO_INET, 0), attrs...)},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: header(0, unix.NFNL_SUBSYS_NFTABLES)},
	})
	if err == nil {
		_, err = c.Receive()
	}
	return err
}

func explainTable(err error, exists bool) error {
	switch {
	case exists:
		return fmt.Errorf("nftables: a table inet %s exists already: %w: another uclat runs here, stop it; or remove the table if it is "+
			"nobody's (nft delete table inet %s)", Table, err, Table)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("nftables: no permission: %w: run as root or with CAP_NET_ADMIN", err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("nftables: this kernel has no tables that a process owns: %w: load nf_tables, and use Linux 5.12 or later", err)
	default:
		return fmt.Errorf("nftables: make table inet %s: %w", Table, err)
	}
}

// replace puts r in force in two transactions. A packet may meet new rules while their sets still look empty to it (seen on Linux 6.18),
// and what both the old and the new rules let pass must not be dropped by that. So first the new rules that accept come before all that
// is there, and then, with their sets in place, they are joined by those that drop, and the old ones go.
func (t *nftTable) replace(r ruleset) error {
	t.conn.AddChain(t.chain)
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: make chain of table inet %s: %w", Table, err)
	}
	old, err := t.conn.GetRules(t.table, t.chain)
	if err != nil {
		return fmt.Errorf("nftables: list rules of table inet %s: %w", Table, err)
	}
	b := builder{table: t, add: t.conn.InsertRule}
	in, out := b.iface(expr.MetaKeyIIFNAME, r.TUN), b.iface(expr.MetaKeyOIFNAME, r.TUN)
	uplinkIn, uplinkOut := b.iface(expr.MetaKeyIIFNAME, r.Uplink), b.iface(expr.MetaKeyOIFNAME, r.Uplink)

	// What is translated, and what is to be. ICMPv6 errors come from any router on the way. From elsewhere than the uplink, nobody may pose
	// as the IPv4 internet.
	var state []expr.Any
	if r.RepliesOnly {
		state = b.reply()
	}
	clat, pref64 := b.set("clat", r.CLAT), b.set("pref64", r.PREF64)
	b.rule(expr.VerdictAccept, uplinkIn, out, b.ipv6(), b.icmpError(), b.destination(clat), state)
	b.rule(expr.VerdictAccept, uplinkIn, out, b.ipv6(), b.source(pref64), b.destination(clat), state)
	b.rule(expr.VerdictAccept, in, uplinkOut, b.ipv6(), b.source(clat), b.destination(pref64)) // which is the first now
	if err := errors.Join(b.err, t.conn.Flush()); err != nil {
		return explainRules(err, r)
	}

	for _, rule := range old {
		b.err = errors.Join(b.err, t.conn.DelRule(rule))
	}
	for _, set := range t.sets {
		if set != clat && set != pref64 {
			t.conn.DelSet(set)
		}
	}
	b.add = t.conn.AddRule
	// No other IPv6 comes out of the TUN or goes into it. IPv4 that the host forwards between the TUN and its clients is the host's
	// affair, but none goes from one side of the translator to the other.
	b.rule(expr.VerdictDrop, in, b.ipv6(), b.count())
	b.rule(expr.VerdictDrop, out, b.ipv6(), b.count())
	b.rule(expr.VerdictDrop, in, uplinkOut, b.count())
	b.rule(expr.VerdictDrop, uplinkIn, out, b.count())
	switch r.Close {
	case closeUplink:
		b.rule(expr.VerdictDrop, b.ipv6(), uplinkIn, b.count())
	case closeAll:
		b.rule(expr.VerdictDrop, b.ipv6(), b.count())
	}
	if err := errors.Join(b.err, t.conn.Flush()); err != nil {
		return explainRules(err, r)
	}
	t.sets = []*nftables.Set{clat, pref64}
	return nil
}

func explainRules(err error, r ruleset) error {
	if r.RepliesOnly {
		return fmt.Errorf("nftables: set rules of table inet %s: %w: if connection tracking is missing, load nf_conntrack or let in all (inbound)", Table, err)
	}
	return fmt.Errorf("nftables: set rules of table inet %s: %w", Table, err)
}

func (t *nftTable) close() error { return t.conn.CloseLasting() }

// builder adds rules to the pending batch. Expressions load register 1 and compare it.
type builder struct {
	table *nftTable
	add   func(*nftables.Rule) *nftables.Rule // at the beginning or at the end
	err   error
}

func (b *builder) rule(verdict expr.VerdictKind, matches ...[]expr.Any) {
	exprs := append(slices.Concat(matches...), &expr.Verdict{Kind: verdict})
	b.add(&nftables.Rule{Table: b.table.table, Chain: b.table.chain, Exprs: exprs})
}

func (b *builder) iface(key expr.MetaKey, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return b.meta(key, data...)
}

func (b *builder) ipv6() []expr.Any { return b.meta(expr.MetaKeyNFPROTO, unix.NFPROTO_IPV6) }

func (b *builder) meta(key expr.MetaKey, value ...byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

func (b *builder) count() []expr.Any { return []expr.Any{&expr.Counter{}} }

// Offsets in the IPv6 header, in octets.
const (
	offSource      = 8
	offDestination = 24
)

func (b *builder) source(s *nftables.Set) []expr.Any      { return b.address(offSource, s) }
func (b *builder) destination(s *nftables.Set) []expr.Any { return b.address(offDestination, s) }

// address matches where the address is in the set.
func (b *builder) address(offset uint32, set *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Payload{OperationType: expr.PayloadLoad, DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 16},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID},
	}
}

// setMessage is how many elements one message holds at most: their attribute's length has 16 bits.
const setMessage = 1000

// set is the set of these ranges, as it is in force already or new. Its name tells sets apart by what is in them, so that the same rules look
// the same. It is not anonymous, since the library adds nothing to such a set.
func (b *builder) set(name string, in []addrRange) *nftables.Set {
	sum := fnv.New64a()
	for _, r := range in {
		sum.Write(r.first.AsSlice())
		sum.Write(r.last.AsSlice())
	}
	name = fmt.Sprintf("%s-%x", name, sum.Sum64())
	if i := slices.IndexFunc(b.table.sets, func(s *nftables.Set) bool { return s.Name == name }); i >= 0 {
		return b.table.sets[i]
	}
	set := &nftables.Set{Table: b.table.table, Name: name, Interval: true, KeyType: nftables.TypeIP6Addr}
	var elements []nftables.SetElement
	for _, r := range in {
		elements = append(elements, nftables.SetElement{Key: r.first.AsSlice()})
		if after := r.last.Next(); after.IsValid() { // else it reaches to the end of all addresses
			elements = append(elements, nftables.SetElement{Key: after.AsSlice(), IntervalEnd: true})
		}
	}
	b.err = errors.Join(b.err, b.table.conn.AddSet(set, nil))
	for part := range slices.Chunk(elements, setMessage) {
		b.err = errors.Join(b.err, b.table.conn.SetAddElements(set, part))
	}
	return set
}

// icmpError matches ICMPv6 Destination Unreachable, Packet Too Big, Time Exceeded and Parameter Problem (RFC 4443: types 1 to 4).
func (b *builder) icmpError() []expr.Any {
	return append(b.meta(expr.MetaKeyL4PROTO, unix.IPPROTO_ICMPV6),
		&expr.Payload{OperationType: expr.PayloadLoad, DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{1}, ToData: []byte{4}},
	)
}

// reply matches what connection tracking knows to belong to, or to be about, something that went out.
func (b *builder) reply() []expr.Any {
	mask := binary.NativeEndian.AppendUint32(nil, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// addrRange is the addresses from first to last.
type addrRange struct{ first, last netip.Addr }

// ranges puts prefixes in order, and together where they touch: nftables takes no overlaps.
func ranges(prefixes []netip.Prefix) []addrRange {
	sorted := slices.Clone(prefixes)
	for i, p := range sorted {
		sorted[i] = p.Masked()
	}
	slices.SortFunc(sorted, netip.Prefix.Compare)
	var out []addrRange
	for _, p := range sorted {
		r := addrRange{p.Addr(), lastOf(p)}
		if n := len(out); n > 0 {
			end := &out[n-1].last
			if next := end.Next(); !next.IsValid() || r.first.Compare(next) <= 0 {
				if end.Less(r.last) {
					*end = r.last
				}
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// lastOf is the last address of an IPv6 prefix.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As16()
	for bit := p.Bits(); bit < 128; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom16(a)
}
