-- Every day from 2000 to 2099.
select {{ plus_days("cast('1999-12-31' as date)", 'numbers.number') }} as calendar_date
from ({{ numbers_to(36525) }}) as numbers
