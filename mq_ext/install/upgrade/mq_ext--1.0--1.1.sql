\echo Use "ALTER EXTENSION mq_ext UPDATE TO '1.1'" to load this file. \quit

-- What 1.1 adds to 1.0.  The full script of 1.1 says the same; t/028_upgrade
-- compares the two.

-- Topics as tables

-- The life of a topic's files

-- Statistics
