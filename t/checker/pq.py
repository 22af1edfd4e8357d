"""pq.py: as much of libpq as the load needs, through ctypes.

libpq comes with PostgreSQL's client package, so nothing more is to install; a
call releases Python's lock while the server works.
"""
import ctypes

_lib = ctypes.CDLL('libpq.so.5')
for _name, _result, _args in (
        ('PQconnectdb', ctypes.c_void_p, [ctypes.c_char_p]),
        ('PQstatus', ctypes.c_int, [ctypes.c_void_p]),
        ('PQerrorMessage', ctypes.c_char_p, [ctypes.c_void_p]),
        ('PQbackendPID', ctypes.c_int, [ctypes.c_void_p]),
        ('PQfinish', None, [ctypes.c_void_p]),
        ('PQsetNoticeProcessor', ctypes.c_void_p,
         [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]),
        ('PQexecParams', ctypes.c_void_p,
         [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p,
          ctypes.POINTER(ctypes.c_char_p), ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]),
        ('PQresultStatus', ctypes.c_int, [ctypes.c_void_p]),
        ('PQresultErrorField', ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int]),
        ('PQcmdStatus', ctypes.c_char_p, [ctypes.c_void_p]),
        ('PQntuples', ctypes.c_int, [ctypes.c_void_p]),
        ('PQnfields', ctypes.c_int, [ctypes.c_void_p]),
        ('PQgetisnull', ctypes.c_int, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
        ('PQgetvalue', ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
        ('PQgetlength', ctypes.c_int, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
        ('PQclear', None, [ctypes.c_void_p])):
    getattr(_lib, _name).restype = _result
    getattr(_lib, _name).argtypes = _args
_silent = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)(lambda arg, text: None)


class PgError(Exception):
    """An error of the server, or (sqlstate None) the loss of the connection."""

    def __init__(self, sqlstate, message, lost):
        super().__init__('%s: %s' % (sqlstate, message))
        self.sqlstate = sqlstate
        self.message = message
        self.lost = lost            # the session is gone, an outcome may be unknown

    def as_dict(self):
        return {'sqlstate': self.sqlstate, 'message': self.message}


class Connection:
    def __init__(self, conninfo):
        self.conn = _lib.PQconnectdb(conninfo.encode())
        if _lib.PQstatus(self.conn) != 0:
            message = _lib.PQerrorMessage(self.conn).decode(errors='replace').strip()
            self.close()
            raise PgError(None, message, True)
        _lib.PQsetNoticeProcessor(self.conn, ctypes.cast(_silent, ctypes.c_void_p), None)
        self.pid = _lib.PQbackendPID(self.conn)

    def close(self):
        if self.conn:
            _lib.PQfinish(self.conn)
            self.conn = None

    def query(self, sql, *params):
        """Rows as tuples of text; the command's tag is left in self.tag."""
        values = (ctypes.c_char_p * max(1, len(params)))(
            *[None if p is None else str(p).encode() for p in params])
        result = _lib.PQexecParams(self.conn, sql.encode(), len(params), None, values,
                                   None, None, 0)
        try:
            if not result or _lib.PQresultStatus(result) not in (1, 2):
                self.fail(result)
            self.tag = _lib.PQcmdStatus(result).decode()
            fields = range(_lib.PQnfields(result))
            return [tuple(self.value(result, row, f) for f in fields)
                    for row in range(_lib.PQntuples(result))]
        finally:
            _lib.PQclear(result)

    @staticmethod
    def value(result, row, field):
        if _lib.PQgetisnull(result, row, field):
            return None
        return ctypes.string_at(_lib.PQgetvalue(result, row, field),
                                _lib.PQgetlength(result, row, field)).decode(errors='replace')

    def fail(self, result):
        def field(code):
            text = _lib.PQresultErrorField(result, ord(code)) if result else None
            return text.decode(errors='replace') if text else None
        # a failed write leaves the status as it was; only the server gives codes
        gone = _lib.PQstatus(self.conn) != 0 or field('C') is None
        message = field('M') or _lib.PQerrorMessage(self.conn).decode(errors='replace').strip()
        if field('D'):
            message += ' (%s)' % field('D')
        raise PgError(field('C'), message, gone or field('V') in ('FATAL', 'PANIC'))


def array(items):
    """A text[] literal."""
    def quote(item):
        if item is None:
            return 'NULL'
        return '"%s"' % item.replace('\\', '\\\\').replace('"', '\\"')
    return '{%s}' % ','.join(quote(i) for i in items)
