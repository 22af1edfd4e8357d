/*
 * mq_errors.h
 *	  Every SQLSTATE of class MQ, in one place.
 *
 * The standard leaves classes that begin with I to Z to implementations.
 * Conditions that PostgreSQL already has a code for use that code; see
 * docs/sql.md, "Errors".
 */
#ifndef MQ_ERRORS_H
#define MQ_ERRORS_H

/* Reading */

/* offset below the log start or above the log end */
#define ERRCODE_MQ_OFFSET_OUT_OF_RANGE	MAKE_SQLSTATE('M','Q','0','0','5')

#endif							/* MQ_ERRORS_H */
