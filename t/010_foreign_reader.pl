# Our .log read by an implementation that is not ours, and its batches, in all
# codecs, read by us.
use strict;
use warnings;

use File::Basename qw(dirname);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use MqTest;

my $here = dirname(__FILE__);
my $tool = "$here/foreign/foreign_log.py";
my $golden = "$here/../selftest/golden";

plan skip_all => 'python3-kafka and python3-lz4 are not installed'
  if system("/usr/bin/python3 -c 'import kafka.record, lz4.frame' 2>/dev/null") != 0;

my $node = new_node('foreign');
my $json = JSON::PP->new->canonical->allow_nonref;

sub tool
{
	my @args = @_;
	my ($out, $err) = run_command([ '/usr/bin/python3', $tool, @args ]);
	is($err, '', "the foreign reader has no complaint ($args[0])");
	return split /\n/, $out;
}

sub dir_of
{
	my ($topic) = @_;
	return $node->data_dir . '/' . $node->safe_psql('postgres', qq{
		SELECT 'pg_mq/' || d.oid || '/' || t.topic_id || '/0' FROM mq.topics t, pg_database d
		WHERE t.topic = '$topic' AND d.datname = current_database()});
}

# Headers sorted by their keys, those with equal keys in their order: an
# object of jsonb has no order.
sub sorted
{
	my ($pairs) = @_;
	my $i = 0;
	return [ map { $_->[1] } sort { $a->[1][0] cmp $b->[1][0] or $a->[0] <=> $b->[0] } map { [ $i++, $_ ] } @$pairs ];
}

# What SQL shows of a partition, in the foreign reader's words: { offset => JSON }.
sub shown_by_sql
{
	my ($topic) = @_;
	my %shown;
	foreach my $line (split /\n/, $node->safe_psql('postgres', qq{
		SELECT json_build_array(msg_offset, (extract(epoch FROM ts) * 1000)::bigint,
		  encode(key, 'hex'), encode(value, 'hex'), pairs(headers, tags))
		FROM mq.fetch('$topic', 0, NULL, 1000000, 1000000000)}))
	{
		my $row = $json->decode($line);
		$row->[4] = sorted($row->[4]);
		die "offset $row->[0] is shown twice" if exists $shown{ $row->[0] };
		$shown{ $row->[0] } = $json->encode($row);
	}
	return \%shown;
}

# Headers and tags as a list of pairs of hexadecimal strings.
$node->safe_psql('postgres', q{
CREATE FUNCTION bytes(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT encode(CASE WHEN t LIKE 'b64:%' THEN decode(substr(t, 5), 'base64') ELSE convert_to(t, 'UTF8') END, 'hex') $$;
CREATE FUNCTION pairs(headers jsonb, tags text[]) RETURNS json LANGUAGE sql AS $$
	SELECT coalesce(json_agg(json_build_array(k, v) ORDER BY source, n), '[]') FROM (
		SELECT 1 AS source, n, bytes(k) AS k, bytes(v) AS v
		FROM jsonb_each_text(CASE jsonb_typeof(headers) WHEN 'object' THEN headers END) WITH ORDINALITY AS e(k, v, n)
		UNION ALL
		SELECT 1, n, bytes(p ->> 0), bytes(p ->> 1)
		FROM jsonb_array_elements(CASE jsonb_typeof(headers) WHEN 'array' THEN headers END) WITH ORDINALITY AS a(p, n)
		UNION ALL
		SELECT 2, n, encode('mq.tag', 'hex'), bytes(t) FROM unnest(tags) WITH ORDINALITY AS u(t, n)) x $$;
});

# 1. Ours, read by others: several segments, savepoints, a transaction that
# failed after its append, as the second of two that skew each other's writes.
$node->safe_psql('postgres', 'CREATE TABLE skew (k int PRIMARY KEY, v int); INSERT INTO skew VALUES (1, 0), (2, 0)');
foreach my $case (
	[ 'ours_none', '{"segment.bytes": 65536, "batch.size": 8192}', 0 ],
	[ 'ours_lz4', '{"segment.bytes": 65536, "batch.size": 8192, "compression.type": "lz4"}', 3 ],
	[ 'ours_append', '{"segment.bytes": 65536, "message.timestamp.type": "LogAppendTime"}', 0 ])
{
	my ($topic, $config, $codec) = @$case;
	$node->safe_psql('postgres', "SELECT mq.create_topic('$topic', 1, '$config')");
	$node->safe_psql('postgres', qq{
		SET mq.transaction_buffer = '64kB';
		SELECT count(mq.produce('$topic', (SELECT string_agg(md5(i || ' ' || j), '') FROM generate_series(0, i % 60) j), key => nullif(i % 5, 0)::text,
			headers => CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN jsonb_build_object('n', i::text, 'none', NULL, 'ä', 'ö')
				WHEN 2 THEN '[["z", "1"], ["a", "b64:/wCA"], ["z", null]]' ELSE '{}' END,
			tags => CASE WHEN i % 3 = 0 THEN ARRAY['x', 'tag ' || i] END,
			ts => '2024-05-01 00:00:00.123+00'::timestamptz + make_interval(secs => (i * 7919 % 1000) - 500)))
		FROM generate_series(1, 400) i;
});
	my @skew = map { $node->background_psql('postgres', on_error_stop => 0) } (1, 2);
	$_->query('BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT sum(v) FROM skew') foreach @skew;
	$skew[$_ - 1]->query("UPDATE skew SET v = v + 1 WHERE k = $_") foreach (1, 2);
	$skew[1]->query("SELECT count(mq.produce('$topic', 'aborted ' || i || repeat('-', 100))) FROM generate_series(1, 200) i");
	$_->query('COMMIT') foreach @skew;
	like($skew[1]->{stderr}, qr/could not serialize access/, "$topic: a transaction fails at its end");
	$_->quit foreach @skew;
	$node->safe_psql('postgres', qq{
		SELECT mq.produce('$topic', NULL::text, key => 'tombstone');
		SELECT mq.produce('$topic', ''::text, key => '');
		SELECT mq.produce('$topic', '\\x00ff80'::bytea, key => '\\xff00'::bytea, transactional => false);
		BEGIN;
		SELECT mq.produce('$topic', 'kept 1');
		SAVEPOINT s;
		SELECT mq.produce('$topic', 'never written');
		ROLLBACK TO s;
		SELECT mq.produce('$topic', 'kept 2');
		COMMIT;
		SELECT mq.produce_batch('$topic', array_agg('batch ' || i)) FROM generate_series(1, 500) i;});

	my @files = sort glob(dir_of($topic) . '/0*.log');
	cmp_ok(scalar(@files), '>=', 3, "$topic: several segments");
	my @batches = map { $json->decode($_) } tool('read', 0, @files);
	my %ours = %{ shown_by_sql($topic) };
	my ($expected, @wrong, %aborted, %codecs) = (0);
	foreach my $batch (@batches)
	{
		push @wrong, "batch $batch->{base} does not follow $expected" if $batch->{base} != $expected;
		push @wrong, "batch $batch->{base} has a producer" if "@{$batch->{producer}}" ne '-1 -1 -1';
		push @wrong, "batch $batch->{base} is transactional" if $batch->{transactional} || $batch->{control};
		push @wrong, "batch $batch->{base}: kind of timestamp" if $batch->{append_time} != ($topic eq 'ours_append');
		$codecs{ $batch->{codec} }++;
		foreach my $row (@{ $batch->{records} })
		{
			my $value = defined $row->[3] ? pack('H*', $row->[3]) : '';
			push @wrong, "offset $row->[0] does not follow $expected" if $row->[0] != $expected++;
			push @wrong, "headers of $row->[0] in their order"
			  if @{ $row->[4] } > 2 && $row->[4][0][0] eq '7a' && join(' ', map { $_->[0] } @{ $row->[4] }[ 0 .. 2 ]) ne '7a 61 7a';
			$row->[4] = sorted($row->[4]);
			my $mine = delete $ours{ $row->[0] };
			if (!defined $mine)
			{
				$aborted{$1}++ if $value =~ /^aborted (\d+)-{100}$/;
				push @wrong, "SQL does not show offset $row->[0]: " . substr($value, 0, 40) if $value !~ /^aborted/;
			}
			elsif ($mine ne $json->encode($row))
			{
				push @wrong, "offset $row->[0]: SQL shows $mine, the file holds " . $json->encode($row);
			}
		}
	}
	is(join("\n", @wrong[ 0 .. ($#wrong < 5 ? $#wrong : 5) ]), '', "$topic: the file holds what SQL shows");
	is(join(' ', sort keys %ours), '', "$topic: SQL shows nothing else");
	is(scalar(keys %aborted), 200, "$topic: what it had appended is in the file, not in SQL");
	is(scalar(grep { $_ != 1 } values %aborted), 0, "$topic: once each");
	ok($codecs{$codec} && ($codec != 0 || keys %codecs == 1), "$topic: the codec");
	is($expected, $node->safe_psql('postgres', "SELECT latest FROM mq.offsets('$topic', 0)"), "$topic: up to the end");
}

# 2. Theirs, read by us: a log made of batches from a Kafka client's encoder,
# in two segments, put in the place of one of ours.
my (@files, %set_of, %attributes);
foreach my $line (split /\n/, slurp_file("$golden/manifest.tsv"))
{
	my ($file, $set, undef, $attributes) = split /\t/, $line;
	next if $file eq 'file';
	push @files, $file;
	($set_of{$file}, $attributes{$file}) = ($set, $attributes);
}
my %records;
foreach my $line (split /\n/, slurp_file("$golden/records.tsv"))
{
	my ($set, $offset, @fields) = split /\t/, $line, -1;
	$records{$set}[$offset] = \@fields if $set ne 'set';
}
is(join(' ', sort keys %{ { map { $attributes{$_} & 7 => 1 } @files } }), '0 1 2 3 4', 'batches in all codecs');

$node->safe_psql('postgres', q{
	SELECT mq.create_topic('theirs', 1, '{"segment.ms": 9000000000000, "retention.ms": -1}');
	SELECT mq.produce('theirs', 'to be replaced');
	CHECKPOINT;});
my $dir = dir_of('theirs');
my $id = $node->safe_psql('postgres', "SELECT topic_id FROM mq.topics WHERE topic = 'theirs'");
$node->stop;
unlink glob "$dir/*.log $dir/*.batches";
my ($next) = tool('segment', $dir, $id, 0, 0, map { "$golden/$_" } @files[ 0 .. 12 ]);
my ($end) = tool('segment', $dir, $id, 0, $next, map { "$golden/$_" } @files[ 13 .. $#files ]);
$node->start;
is($node->safe_psql('postgres', "SELECT earliest, latest, last_stable FROM mq.offsets('theirs', 0)"), "0|$end|$end", 'offsets');

my @shown = map { $json->decode($_) } split /\n/, $node->safe_psql('postgres', q{
	SELECT json_build_array(msg_offset, (extract(epoch FROM ts) * 1000)::bigint, encode(key, 'hex'),
		length(value), md5(value), pairs(headers, tags))
	FROM mq.fetch('theirs', 0, NULL, 1000000, 1000000000)});
is(scalar(@shown), $end, 'all records are shown');
my $at = 0;
foreach my $file (@files)
{
	my @set = @{ $records{ $set_of{$file} } };
	my ($newest) = sort { $b <=> $a } map { $_->[0] } @set;
	my @wrong;
	foreach my $row (@set)
	{
		my ($ts, $key, $length, $md5, $headers) = @$row;
		my @theirs = ($at, $attributes{$file} & 8 ? $newest : $ts, map({ $_ eq '\N' ? undef : $_ } $key, $length, $md5),
			sorted($json->decode($headers)));
		$_ += 0 foreach grep { defined } @theirs[ 0, 1, 3 ];
		my $got = $shown[$at] // [];
		$got->[5] = sorted($got->[5] // []);
		push @wrong, "expected " . $json->encode(\@theirs) . "\ngot " . $json->encode($got)
		  if $json->encode(\@theirs) ne $json->encode($got);
		$at++;
	}
	is($wrong[0], undef, "$file as its encoder meant it");
}

# by offset inside a batch, by time, and the log goes on
is($node->safe_psql('postgres', "SELECT msg_offset FROM mq.fetch('theirs', 0, $next - 1, 2)"),
	($next - 1) . "\n$next", 'from one segment to the next');
is($node->safe_psql('postgres', "SELECT mq.offset_at('theirs', 0, to_timestamp(1700000000.001))"), 1, 'by time');
produce($node, 'theirs', ['ours again']);
is($node->safe_psql('postgres', "SELECT value FROM mq.fetch_text('theirs', 0, $end)"), 'ours again', 'the log goes on behind them');
my @segments = sort glob "$dir/0*.log";
is(scalar(@segments), 2, 'in the same segment');
like((tool('read', $end, $segments[1]))[-1], qr/"base": $end,/, 'and they can read that');

$node->stop;
done_testing();
