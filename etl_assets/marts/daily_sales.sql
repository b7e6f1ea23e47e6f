-- mart: daily_sales
-- owner: team:sales
-- business_date: day
-- reads: shop.order_lines
-- description: Orders, units and revenue of each day, net of refunds.
SELECT
    CAST(invoiced_at AS DATE) AS day,
    count(DISTINCT invoice_no) FILTER (NOT is_cancellation) AS orders,
    count(*) AS lines,
    CAST(sum(quantity) AS BIGINT) AS units,
    CAST(coalesce(sum(amount) FILTER (amount > 0), 0) AS DECIMAL(18, 3)) AS gross_revenue,
    CAST(coalesce(-sum(amount) FILTER (amount < 0), 0) AS DECIMAL(18, 3)) AS refunds,
    CAST(sum(amount) AS DECIMAL(18, 3)) AS net_revenue,
    count(DISTINCT customer_id) AS customers,
    CAST(gross_revenue / nullif(orders, 0) AS DECIMAL(18, 3)) AS average_order_value
FROM shop.order_lines
WHERE
    invoiced_at >= first_touched_date() AND invoiced_at < last_touched_date() + 1
    AND CAST(invoiced_at AS DATE) IN (SELECT business_date FROM touched_dates)
GROUP BY 1
